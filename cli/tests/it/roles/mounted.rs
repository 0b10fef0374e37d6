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
    /// With the specs of `from`, in which `namespace` stands for `web`, and the servers.
    pub(crate) fn new(from: &Path, namespace: &str, bootstrap: &str, url: &str) -> Self {
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
                let text = text.replace("namespace: web", &format!("namespace: {namespace}"));
                let name = file.file_name().unwrap();
                std::fs::write(root.join("specs").join(name), text).unwrap();
            }
        }
        std::fs::write(root.join("kafka/bootstrap.servers"), bootstrap).unwrap();
        mounted.set_url(url);
        mounted
    }

    /// Writes the database's URL into its Secret.
    pub(crate) fn set_url(&self, url: &str) {
        let file = self.folder.path().join("secrets/warehouse/url");
        std::fs::write(file, format!("{url}\n")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Provisions what is in a folder or file of it.
    pub(crate) fn provision(&self, specs: &str) -> Ended {
        let (specs, kafka, secrets) = (self.path(specs), self.path("kafka"), self.path("secrets"));
        run(&[
            "provision",
            &specs,
            "--kafka",
            &kafka,
            "--secrets",
            &secrets,
        ])
    }

    /// Starts a role with its probes on a free port.
    pub(crate) fn role(&self, role: &str, more: &[&str]) -> Role {
        let (specs, kafka, secrets) =
            (self.path("specs"), self.path("kafka"), self.path("secrets"));
        let shared = [
            role,
            "--specs",
            &specs,
            "--kafka",
            &kafka,
            "--secrets",
            &secrets,
            "--operations",
            "127.0.0.1:0",
        ];
        Role::start(&[&shared[..], more].concat())
    }
}
