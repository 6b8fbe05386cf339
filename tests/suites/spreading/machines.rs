//! Store, algorithm and runners on machines of their own: network namespaces, joined by a bridge, with a link that is cut.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::{
    apart::stay_cut,
    program::{SIGINT, StoreProgram, start_in},
};

/// A bridge and machines at it, which go when this is dropped.
struct Network {
    name: String,
    machines: usize,
}

fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

impl Network {
    /// `None` where the system does not let us.
    fn of(machines: usize) -> Option<Self> {
        let network = Self {
            name: format!("lightning-{}", std::process::id()),
            machines,
        };
        network.join().then_some(network)
    }

    fn machine(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    fn join(&self) -> bool {
        let hub = self.machine(0);
        let inside = |machine: &str, arguments: &[&str]| ip(&[&["-n", machine], arguments].concat());
        if !(ip(&["netns", "add", &hub])
            && inside(&hub, &["link", "add", "bridge", "type", "bridge"])
            && inside(&hub, &["link", "set", "bridge", "up"]))
        {
            return false;
        }
        (1..=self.machines).all(|number| {
            let (machine, port) = (self.machine(number), format!("port{number}"));
            let address = format!("{}/24", Self::address(number));
            ip(&["netns", "add", &machine])
                && inside(
                    &hub,
                    &[
                        "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &machine,
                    ],
                )
                && inside(&hub, &["link", "set", &port, "master", "bridge"])
                && inside(&hub, &["link", "set", &port, "up"])
                && inside(&machine, &["link", "set", "lo", "up"])
                && inside(&machine, &["addr", "add", &address, "dev", "eth0"])
                && inside(&machine, &["link", "set", "eth0", "up"])
        })
    }

    fn address(number: usize) -> String {
        format!("10.77.0.{number}")
    }

    fn link(&self, number: usize, state: &str) {
        assert!(ip(&[
            "-n",
            &self.machine(0),
            "link",
            "set",
            &format!("port{number}"),
            state
        ]));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 0..=self.machines {
            ip(&["netns", "del", &self.machine(number)]);
        }
    }
}

#[test]
fn machines_finish_every_rollout_once_although_a_link_is_cut() {
    let Some(network) = Network::of(4) else {
        eprintln!("no network namespaces here, so processes with a relay between them stand for machines");
        crate::apart::three_processes_with_a_cut();
        return;
    };
    let mut store = Command::new("ip");
    store
        .args([
            "netns",
            "exec",
            &network.machine(1),
            env!("CARGO_BIN_EXE_lightning_under_test"),
        ])
        .args(["store", "--insecure", "--host", &Network::address(1)]);
    let (_store, _) = StoreProgram::of(store);
    let url = format!("http://{}:4747", Network::address(1));
    let algorithm =
        json!({"role": "algorithm", "url": url, "tasks": 24, "then": "wait", "unresponsive": 1.0});
    let mut algorithm = start_in(Some(&network.machine(2)), &algorithm, &[]);
    algorithm.until("enqueued");
    let runners = |number: usize, takes: u64| {
        let settings = json!({"role": "only", "url": url, "runners": 4, "takes": takes, "patience": 120_000});
        start_in(Some(&network.machine(number)), &settings, &[])
    };
    let mut cut_off = runners(3, 2000);
    for _ in 0..4 {
        cut_off.until_begun();
    }
    network.link(3, "down");
    let other = runners(4, 50);
    algorithm.until("all ended");
    stay_cut();
    network.link(3, "up");
    // It delivers what it has before it ends; the other one is told to stop by the store.
    cut_off.send(SIGINT);
    let cut_off = cut_off.end();
    assert!(cut_off.status.success(), "{:#?}", cut_off.said);
    algorithm.send(SIGINT);
    let ended = algorithm.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    assert_eq!(ended.json("report: ")["output"], json!({"succeeded": 24}));
    ended.every_rollout_succeeded(24);
    let twice = ended
        .rollouts()
        .iter()
        .filter(|rollout| rollout.attempts.len() > 1)
        .count();
    assert!(twice >= 4, "{:#?}", ended.said);
    let other = other.end();
    assert!(other.status.success(), "{:#?}", other.said);
}
