//! A folder with what a pod would have mounted: resources, Kafka's properties, the Secret `warehouse`.
use std::path::Path;

use tempfile::TempDir;

use crate::program::{Ended, run};
use crate::roles::ground::Role;

/// The folder. It goes when this is dropped.
pub(crate) struct Mounted {
    folder: TempDir,
}

impl Mounted {
    /// With the specs of `from`, in which each first text is replaced by its second, and the servers.
    pub(crate) fn new(from: &Path, replaced: &[(&str, &str)], bootstrap: &str, url: &str) -> Self {
        let mounted = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let root = mounted.folder.path();
        for folder in ["specs", "kafka", "secrets/warehouse"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap().path();
            if file
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let text = std::fs::read_to_string(&file).unwrap();
                let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
                let text = replaced.iter().fold(text, replace);
                let name = file.file_name().unwrap();
                std::fs::write(root.join("specs").join(name), text).unwrap();
            }
        }
        mounted.set_property("bootstrap.servers", bootstrap);
        mounted.set_url(url);
        mounted
    }

    /// Writes a property of Kafka's Secret.
    pub(crate) fn set_property(&self, name: &str, value: &str) {
        std::fs::write(self.folder.path().join("kafka").join(name), value).unwrap();
    }

    /// Writes the database's URL into its Secret.
    pub(crate) fn set_url(&self, url: &str) {
        let file = self.folder.path().join("secrets/warehouse/url");
        std::fs::write(file, format!("{url}\n")).unwrap();
    }

    /// Takes the Secret `warehouse` away.
    pub(crate) fn remove_secret(&self) {
        std::fs::remove_dir_all(self.folder.path().join("secrets/warehouse")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Provisions what is in a folder or file of it.
    pub(crate) fn provision(&self, specs: &str, more: &[&str]) -> Ended {
        let (specs, kafka, secrets) = (self.path(specs), self.path("kafka"), self.path("secrets"));
        let shared = [
            "provision",
            &specs,
            "--kafka",
            &kafka,
            "--secrets",
            &secrets,
        ];
        run(&[&shared[..], more].concat())
    }

    /// Starts a role with its probes on a free port.
    pub(crate) fn role(&self, role: &str, more: &[&str]) -> Role {
        self.with_probes(role, |args| Role::start(&[args, more].concat()))
    }

    /// Runs a role that ends by itself.
    pub(crate) fn refused(&self, role: &str) -> Ended {
        self.with_probes(role, run)
    }

    fn with_probes<T>(&self, role: &str, begin: impl FnOnce(&[&str]) -> T) -> T {
        let (specs, kafka, secrets) =
            (self.path("specs"), self.path("kafka"), self.path("secrets"));
        begin(&[
            role,
            "--specs",
            &specs,
            "--kafka",
            &kafka,
            "--secrets",
            &secrets,
            "--operations",
            "127.0.0.1:0",
        ])
    }
}
