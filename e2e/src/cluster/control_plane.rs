//! etcd, the API server, the controller manager and the scheduler.
use crate::{
    cluster::{
        audit,
        error::ClusterError,
        identity::Identities,
        network::{NODE, SERVICES},
        place::Place,
        programs::Programs,
    },
    supervised::Supervised,
};

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEERS: &str = "http://127.0.0.1:2380";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What starting them needs.
pub(crate) struct ControlPlane<'a> {
    pub(crate) place: &'a Place,
    pub(crate) programs: &'a Programs,
    pub(crate) identities: &'a Identities,
    pub(crate) api_port: u16,
}

impl ControlPlane<'_> {
    /// Starts etcd and the API server, and waits until it serves.
    pub(crate) fn start_api(&self) -> Result<[Supervised; 2], ClusterError> {
        let etcd = self.start_etcd()?;
        let mut server = Supervised::within("kube-apiserver", self.place.part("kube-apiserver"))?;
        let file = |name: &str| self.identities.file(name).display().to_string();
        let mut command = self.programs.kubernetes("kube-apiserver");
        command
            .arg(format!("--etcd-servers={ETCD}"))
            .arg(format!("--advertise-address={NODE}"))
            .arg("--bind-address=0.0.0.0")
            .arg(format!("--secure-port={}", self.api_port))
            .arg(format!("--service-cluster-ip-range={SERVICES}"))
            .arg(format!("--cert-dir={}", server.folder().display()))
            .arg(format!("--tls-cert-file={}", file("api-server.crt")))
            .arg(format!("--tls-private-key-file={}", file("api-server.key")))
            .arg(format!("--client-ca-file={}", file("authority.crt")))
            .arg(format!(
                "--kubelet-client-certificate={}",
                file("kubelet-client.crt")
            ))
            .arg(format!(
                "--kubelet-client-key={}",
                file("kubelet-client.key")
            ))
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg(format!("--service-account-issuer={ISSUER}"))
            .arg(format!("--service-account-key-file={}", file("tokens.pub")))
            .arg(format!(
                "--service-account-signing-key-file={}",
                file("tokens.key")
            ))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--enable-admission-plugins=NodeRestriction")
            .arg("--allow-privileged=true")
            .args(audit::options(server.folder())?);
        server.start(command, || Ok(self.answers("/readyz")))?;
        Ok([etcd, server])
    }

    fn start_etcd(&self) -> Result<Supervised, ClusterError> {
        let mut etcd = Supervised::within("etcd", self.place.part("etcd"))?;
        let mut command = self.programs.kubernetes("etcd");
        command
            .arg(format!(
                "--data-dir={}",
                etcd.folder().join("data").display()
            ))
            .arg(format!("--listen-client-urls={ETCD}"))
            .arg(format!("--advertise-client-urls={ETCD}"))
            .arg(format!("--listen-peer-urls={ETCD_PEERS}"))
            .arg(format!("--initial-advertise-peer-urls={ETCD_PEERS}"))
            .arg(format!("--initial-cluster=default={ETCD_PEERS}"))
            .args(["--unsafe-no-fsync", "--log-level=warn"]);
        // The API server waits for it.
        etcd.start(command, || Ok(true))?;
        Ok(etcd)
    }

    /// Starts the controller manager and the scheduler. What they do shows whether they run.
    pub(crate) fn start_controllers(&self) -> Result<[Supervised; 2], ClusterError> {
        let manager = self.start_controller("kube-controller-manager", |command, folder| {
            let file = |name: &str| self.identities.file(name).display().to_string();
            command
                .arg(format!("--cert-dir={folder}"))
                .arg(format!("--root-ca-file={}", file("authority.crt")))
                .arg(format!(
                    "--service-account-private-key-file={}",
                    file("tokens.key")
                ))
                .arg("--use-service-account-credentials=true");
        })?;
        let scheduler = self.start_controller("kube-scheduler", |_, _| {})?;
        Ok([manager, scheduler])
    }

    fn start_controller(
        &self,
        name: &'static str,
        add: impl FnOnce(&mut std::process::Command, &str),
    ) -> Result<Supervised, ClusterError> {
        let mut controller = Supervised::within(name, self.place.part(name))?;
        let kubeconfig = controller.folder().join("kubeconfig");
        let user = format!("system:{name}");
        self.identities.kubeconfig(&user, None, &kubeconfig)?;
        let mut command = self.programs.kubernetes(name);
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        add(&mut command, &controller.folder().display().to_string());
        controller.start(command, || Ok(true))?;
        Ok(controller)
    }

    /// Whether the API server says 200 to a path.
    fn answers(&self, path: &str) -> bool {
        let output = self
            .programs
            .kubernetes("kubectl")
            .arg(format!(
                "--kubeconfig={}",
                self.place.kubeconfig().display()
            ))
            .args(["get", "--raw", path])
            .output();
        output.is_ok_and(|output| output.status.success())
    }
}
