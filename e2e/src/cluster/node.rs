//! The node: containerd, the kubelet, kube-proxy, and CoreDNS.
use std::{net::TcpStream, os::unix::net::UnixStream, path::Path, process::Command};

use crate::{
    cluster::{
        error::ClusterError,
        identity::{Identities, NODE_NAME},
        images::PAUSE,
        network::{NODE, PODS},
        place::Place,
        programs::Programs,
        run::{make_folder, run, write},
    },
    supervised::Supervised,
};

/// In a folder of the cluster's own view of the file system.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// More than the 110 of a real node: hundreds of small pods are part of tests.
const MAX_PODS: u32 = 300;

/// What starting its parts needs.
pub(crate) struct Node<'a> {
    pub(crate) place: &'a Place,
    pub(crate) programs: &'a Programs,
    pub(crate) identities: &'a Identities,
}

impl Node<'_> {
    /// Starts containerd and waits until it answers.
    pub(crate) fn start_containerd(&self) -> Result<Supervised, ClusterError> {
        let mut server = Supervised::within("containerd", self.place.part("containerd"))?;
        let folder = server.folder().to_owned();
        let networks = folder.join("networks");
        write(
            &networks.join("10-pods.conflist"),
            &self.pod_network(&folder),
        )?;
        let settings = folder.join("config.toml");
        write(&settings, &self.containerd_settings(&folder, &networks))?;
        let mut command = Command::new("containerd");
        command.arg("--config").arg(settings);
        server.start(command, || Ok(UnixStream::connect(CONTAINERD).is_ok()))?;
        Ok(server)
    }

    fn containerd_settings(&self, folder: &Path, networks: &Path) -> String {
        format!(
            r#"version = 2
root = "{folder}/data"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Only who has CAP_SYS_RESOURCE may set a score below the own.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
"#,
            folder = folder.display(),
            plugins = self.programs.plugins().display(),
            networks = networks.display(),
        )
    }

    fn pod_network(&self, folder: &Path) -> String {
        format!(
            r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [{{
  "type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
  "ipam": {{"type": "host-local", "dataDir": "{}/addresses", "ranges": [[{{"subnet": "{PODS}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}
}}]}}
"#,
            folder.display()
        )
    }

    /// Starts the kubelet. The node's state shows whether it runs.
    pub(crate) fn start_kubelet(&self) -> Result<Supervised, ClusterError> {
        let mut kubelet = Supervised::within("kubelet", self.place.part("kubelet"))?;
        let folder = kubelet.folder().to_owned();
        let kubeconfig = folder.join("kubeconfig");
        let user = format!("system:node:{NODE_NAME}");
        self.identities
            .kubeconfig(&user, Some("system:nodes"), &kubeconfig)?;
        // What pods are told that do not ask for the cluster's names: nobody outside answers here.
        write(&folder.join("resolv.conf"), "")?;
        make_folder(&folder.join("volume-plugins"))?;
        let settings = folder.join("config.yaml");
        write(&settings, &self.kubelet_settings(&folder))?;
        let mut command = self.programs.kubernetes("kubelet");
        command
            .arg(format!("--config={}", settings.display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--hostname-override={NODE_NAME}"))
            .arg(format!("--node-ip={NODE}"));
        kubelet.start(command, || Ok(true))?;
        Ok(kubelet)
    }

    /// Thresholds for free disk and memory are those of the machine, which has others to serve; nothing is evicted here for them.
    fn kubelet_settings(&self, folder: &Path) -> String {
        format!(
            r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: "{authority}"}}}}
authorization: {{mode: Webhook}}
containerRuntimeEndpoint: "unix://{CONTAINERD}"
cgroupDriver: cgroupfs
cgroupRoot: "/{cgroup}"
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: ["{NODE}"]
clusterDomain: cluster.local
resolvConf: "{folder}/resolv.conf"
volumePluginDir: "{folder}/volume-plugins"
maxPods: {MAX_PODS}
evictionHard: {{memory.available: "50Mi", nodefs.available: "50Mi", imagefs.available: "50Mi", nodefs.inodesFree: "1", imagefs.inodesFree: "1"}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
registryPullQPS: 0
kubeAPIQPS: 500
kubeAPIBurst: 1000
"#,
            authority = self.identities.file("authority.crt").display(),
            cgroup = self.place.cgroup(),
            folder = folder.display(),
        )
    }

    /// Starts kube-proxy. It tries until the API server answers.
    pub(crate) fn start_proxy(&self) -> Result<Supervised, ClusterError> {
        let mut proxy = Supervised::within("kube-proxy", self.place.part("kube-proxy"))?;
        let folder = proxy.folder().to_owned();
        let kubeconfig = folder.join("kubeconfig");
        self.identities
            .kubeconfig("system:kube-proxy", None, &kubeconfig)?;
        // What it would set for connection tracking belongs to the whole machine.
        let settings = format!(
            r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {NODE_NAME}
clusterCIDR: "{PODS}"
clientConnection: {{kubeconfig: "{kubeconfig}"}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s, udpTimeout: 0s, udpStreamTimeout: 0s}}
nftables: {{minSyncPeriod: 0s}}
oomScoreAdj: 0
"#,
            kubeconfig = kubeconfig.display()
        );
        let file = folder.join("config.yaml");
        write(&file, &settings)?;
        let mut command = self.programs.kubernetes("kube-proxy");
        command.arg(format!("--config={}", file.display()));
        proxy.start(command, || Ok(true))?;
        Ok(proxy)
    }

    /// Starts CoreDNS, a process on the node's address rather than pods, so that names are there before any pod is.
    pub(crate) fn start_names(&self) -> Result<Supervised, ClusterError> {
        let mut names = Supervised::within("coredns", self.place.part("coredns"))?;
        let file = names.folder().join("Corefile");
        let text = format!(
            "cluster.local:53 in-addr.arpa:53 {{
    errors
    cache {{
        success 9984 5
        denial 9984 1
    }}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {} tidewheel
        ttl 1
    }}
}}
",
            self.place.kubeconfig().display()
        );
        write(&file, &text)?;
        let mut command = self.programs.kubernetes("coredns");
        command.arg("-conf").arg(file);
        names.start(command, || Ok(TcpStream::connect((NODE, 53)).is_ok()))?;
        Ok(names)
    }

    /// Gives containerd an image.
    pub(crate) fn import(&self, archive: &Path) -> Result<(), ClusterError> {
        let mut command = images();
        command
            .args(["import", "--snapshotter", "overlayfs"])
            .arg(archive);
        run(&mut command, &format!("importing {}", archive.display())).map(drop)
    }

    /// Gives an image that containerd has another name as well.
    pub(crate) fn tag(&self, image: &str, name: &str) -> Result<(), ClusterError> {
        let mut command = images();
        command.args(["tag", image, name]);
        run(&mut command, &format!("naming {image} {name}")).map(drop)
    }
}

fn images() -> Command {
    let mut command = Command::new("ctr");
    command.args(["--address", CONTAINERD, "--namespace", "k8s.io", "images"]);
    command
}
