//! A real cluster on this machine: what runs in it, what it reaches, and what is left of it.
mod kind;
mod leftovers;
mod made;
mod pods;
mod requests;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tidewheel_e2e::cluster::{Cluster, Options};

pub(crate) use self::pods::pod;

/// The program that holds clusters.
fn holder() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tidewheel-cluster"))
}

/// The program whose image a cluster gets: the one that was built with these tests.
fn tidewheel() -> PathBuf {
    holder().with_file_name("tidewheel")
}

/// A name that no other test has.
fn name(of: &str) -> String {
    format!("test-{}-{of}", std::process::id())
}

pub(crate) fn start(of: &str) -> Cluster {
    let options = Options {
        name: name(of),
        holder: holder().to_owned(),
        tidewheel: tidewheel(),
    };
    match Cluster::start(&options, |step| println!("{of}: {step}")) {
        Ok(cluster) => cluster,
        Err(error) => panic!("{error}"),
    }
}

/// The cluster that all tests share which do not put it away; each has a namespace of its own. It is the one that
/// `TIDEWHEEL_KUBECONFIG` names, or one that ends with this process.
pub(crate) fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| match Cluster::given() {
        Ok(given) => given.unwrap_or_else(|| start("s")),
        Err(error) => panic!("{error}"),
    })
}
