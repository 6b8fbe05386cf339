//! A link to a store that can be cut and healed.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// Passes connections on while the link is there.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    link: Arc<Mutex<Link>>,
}

#[derive(Default)]
struct Link {
    is_cut: bool,
    connections: Vec<TcpStream>,
    passed: usize,
}

impl Relay {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let link = Arc::new(Mutex::new(Link::default()));
        let shared = link.clone();
        // It goes with the process of the test.
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut link = shared.lock().unwrap();
                if link.is_cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                link.passed += 1;
                link.connections
                    .extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far, near);
            }
        });
        Self { address, link }
    }

    /// Breaks all connections, and lets no new one through.
    pub(crate) fn cut(&self) {
        let mut link = self.link.lock().unwrap();
        link.is_cut = true;
        for connection in link.connections.drain(..) {
            // It may be broken already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn heal(&self) {
        self.link.lock().unwrap().is_cut = false;
    }

    /// How many connections there have been.
    pub(crate) fn passed(&self) -> usize {
        self.link.lock().unwrap().passed
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
