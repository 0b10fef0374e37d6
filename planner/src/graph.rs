//! Who reads whom: names, order, circles, and what nobody reads.
use std::collections::{BTreeMap, BTreeSet};

/// Something that can be read or reads: a source (that reads nothing) or a step.
#[derive(Debug, Clone)]
pub(crate) struct GraphNode {
    pub(crate) name: String,
    /// Names of what it reads, all of them nodes.
    pub(crate) reads: Vec<String>,
}

/// The nodes in an order in which each follows what it reads, and the circles that have none.
pub(crate) fn order(nodes: &[GraphNode]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let index: BTreeMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .rev()
        .map(|(i, n)| (n.name.as_str(), i))
        .collect();
    let mut walk = Walk {
        nodes,
        index,
        state: vec![State::New; nodes.len()],
        order: Vec::new(),
        cycles: Vec::new(),
    };
    for start in 0..nodes.len() {
        walk.visit(start, &mut Vec::new());
    }
    (walk.order, walk.cycles)
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

struct Walk<'a> {
    nodes: &'a [GraphNode],
    index: BTreeMap<&'a str, usize>,
    state: Vec<State>,
    order: Vec<usize>,
    cycles: Vec<Vec<usize>>,
}

impl Walk<'_> {
    fn visit(&mut self, node: usize, path: &mut Vec<usize>) {
        match self.state[node] {
            State::Done => return,
            State::Open => {
                let from = path.iter().position(|n| *n == node).unwrap_or(0);
                self.cycles.push(path[from..].to_vec());
                return;
            }
            State::New => {}
        }
        self.state[node] = State::Open;
        path.push(node);
        for read in &self.nodes[node].reads {
            if let Some(next) = self.index.get(read.as_str()) {
                self.visit(*next, path);
            }
        }
        path.pop();
        self.state[node] = State::Done;
        self.order.push(node);
    }
}

/// Everything that `roots` read, directly or not, with the roots.
pub(crate) fn reachable<'a>(
    nodes: &'a [GraphNode],
    roots: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = roots.into_iter().collect();
    while let Some(name) = open.pop() {
        if seen.insert(name) {
            let reads = nodes
                .iter()
                .filter(|n| n.name == name)
                .flat_map(|n| &n.reads);
            open.extend(reads.map(String::as_str));
        }
    }
    seen
}
