//! A server as a child that never outlives this process, however that ends.
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::kafka::{KafkaError, io};

/// Runs the rest of its arguments beside a pipe from us: says the server's process id, and ends it when told to or when the
/// pipe ends, which it does when this process dies, by SIGKILL too. In the latter case nobody else removes the folder.
const WATCH: &str = r#"
folder=$1 log=$2; shift 2
"$@" </dev/null >>"$log" 2>&1 &
echo $!
read -r how
case $how in
  term) kill -TERM $! ;;
  kill) kill -KILL $! ;;
  *) kill -KILL $!; wait $! 2>/dev/null; rm -rf "$folder"; exit ;;
esac
wait $! 2>/dev/null
"#;
/// How much of a log is worth showing, lines.
const LINES: usize = 40;

/// A server and the shell that watches over it.
pub(crate) struct Process {
    watch: Child,
    /// None once the shell was told how to end.
    orders: Option<ChildStdin>,
    id: String,
}

impl Process {
    /// Starts a server; what it prints is added to `log`, and `folder` is removed when this process dies.
    pub(crate) fn spawn(server: Command, folder: &Path, log: &Path) -> Result<Self, KafkaError> {
        let mut watch = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .args([folder, log])
            .arg(server.get_program())
            .args(server.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io("starting a shell for the broker"))?;
        let orders = watch.stdin.take();
        let mut id = String::new();
        if let Some(said) = watch.stdout.take() {
            BufReader::new(said)
                .read_line(&mut id)
                .map_err(io("reading the broker's process id"))?;
        }
        Ok(Self {
            watch,
            orders,
            id: id.trim().to_owned(),
        })
    }

    /// Asks the server to end.
    pub(crate) fn terminate(&mut self) -> Result<(), KafkaError> {
        self.order("term")
    }

    /// Ends the server and waits for that.
    pub(crate) fn kill(mut self) -> Result<(), KafkaError> {
        self.order("kill")?;
        self.watch
            .wait()
            .map(drop)
            .map_err(io("waiting for the broker to end"))
    }

    /// Whether the server has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool, KafkaError> {
        if self.orders.is_some() {
            // Until it is told something, the shell waits for that and leaves an ended server as a zombie.
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id));
            return Ok(stat.map_or(true, |stat| stat.contains(") Z ")));
        }
        let status = self.watch.try_wait();
        Ok(status.map_err(io("asking after the broker"))?.is_some())
    }

    /// Sends the server a signal.
    pub(crate) fn signal(&self, signal: &str) -> Result<(), KafkaError> {
        let status = Command::new("kill")
            .args(["-s", signal, &self.id])
            .status()
            .map_err(io("sending the broker a signal"))?;
        if status.success() {
            return Ok(());
        }
        Err(KafkaError::Io {
            doing: "sending the broker a signal",
            error: std::io::Error::other("it is not there"),
        })
    }

    fn order(&mut self, how: &str) -> Result<(), KafkaError> {
        self.orders.take().map_or(Ok(()), |mut orders| {
            writeln!(orders, "{how}").map_err(io("telling the broker to end"))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A shell that is gone has nothing left to end.
        let _ = self.order("kill");
        let _ = self.watch.wait();
    }
}

/// The last lines of a file, as far as there is one.
pub(crate) fn end_of(log: &Path) -> String {
    let lines: Vec<String> = File::open(log)
        .map(|file| BufReader::new(file).lines().map_while(Result::ok).collect())
        .unwrap_or_default();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
