//! What connections cost: a bulk transfer, requests on one connection, a connection per request.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    Scale,
    hooks::{self, Hooks, Reader},
    lab::{Family, Lab, SINK_PORT, Side},
    report::{Report, Table},
    slices::{Candidate, Clock, Effort, compare},
};

/// Bytes of a request, and of its answer.
const REQUEST_BYTES: usize = 64;
/// Bytes per write of the bulk transfer.
const BULK_BYTES: usize = 128 * 1024;

/// Does one unit of work, and says how much that was.
type Work = Box<dyn FnMut() -> Result<u64>>;
type Serve = fn(TcpStream) -> std::io::Result<()>;

struct Workload {
    name: &'static str,
    unit: &'static str,
    serve: Serve,
    open: fn() -> Result<Work>,
    /// Share of the rate that may be lost, in per cent.
    limit: f64,
    /// What we do for one unit of it.
    parts: &'static str,
}

/// What it would be if the reader never let events gather.
const EACH: &str = "everything, each event read at once";

const PACKETS: &str = "each packet passes both ledgers, and each send call the sender stamp";
const CONNECTION: &str = "per connection and side, storage of the socket is allocated, a slot is taken, and the sender's \
                          identity is read; client and server are both on this host and both pay";

const WORKLOADS: [Workload; 4] = [
    Workload { name: "bulk transfer", unit: "KiB", serve: discard, open: bulk, limit: 1.0, parts: PACKETS },
    Workload {
        name: "request, answer",
        unit: "requests",
        serve: answer,
        open: requests,
        limit: 1.0,
        parts: PACKETS,
    },
    Workload {
        name: "connect, request, answer, close",
        unit: "connections",
        serve: answer,
        open: connections,
        limit: 3.0,
        parts: CONNECTION,
    },
    Workload {
        name: "connect, close",
        unit: "connections",
        serve: answer,
        open: bare_connections,
        limit: 3.0,
        parts: CONNECTION,
    },
];

pub(crate) fn run(lab: &Arc<Lab>, scale: Scale, report: &mut Report) -> Result<()> {
    let probe = hooks::load(lab)?;
    let hooks = Hooks::new(&probe, lab)?;
    let reader = Reader::start(probe, lab);
    let effort = Effort {
        triples: scale.pick(200, 3),
        slice: Duration::from_millis(8),
        clock: Clock::Wall,
        patience: Duration::from_secs(scale.pick(30, 2)),
    };
    let mut rows = Vec::new();
    for Workload { name, unit, serve, open, limit, parts } in WORKLOADS {
        let listener = listen(lab)?;
        let server = Server::start(listener, lab, serve)?;
        let costs = lab.on(Side::Near, || {
            let mut work = open()?;
            let attach = |at_once| {
                reader.read_at_once(at_once);
                hooks.both()
            };
            let candidates = [
                Candidate { name: "`return 1` at both hooks", attach: Box::new(|| hooks.empty_both()) },
                Candidate { name: EACH, attach: Box::new(|| attach(true)) },
                Candidate { name: "everything", attach: Box::new(|| attach(false)) },
            ];
            compare(&candidates, effort, &mut work)
        })?;
        drop(server);
        for cost in &costs {
            rows.push(vec![
                name.to_owned(),
                cost.name.to_owned(),
                format!("{:.0} {unit}/s", 1e9 / cost.off_ns.median),
                format!("{:.1}", cost.loss_percent),
                format!("{:.1}", cost.processor_percent),
                cost.loss_percent.count.to_string(),
                format!("{:.0}", cost.unrest_percent.median),
            ]);
        }
        let [empty, _, everything] = costs.as_slice() else { bail!("three candidates give three costs") };
        let why = format!(
            "{}; two programs that do nothing take {:.1} % here, and processor time grows by {:.1} %",
            parts, empty.loss_percent.median, everything.processor_percent.median
        );
        report.budget((name, limit, "%"), everything.loss_percent, why);
    }
    reader.stop()?;
    report.table(Table {
        title: "TCP",
        text: format!(
            "Client near, server far, a processor each; everything attached, and a thread that reads events and \
             sweeps each second as the agent does. Connections end with a reset, to spare the ports. Up to {} triples of \
             {} ms each. Processor time is that of client, server and reader together, for one unit of work: it says more \
             than the rate where other programs want the processors. Unrest: how far two slices without anything, before \
             and after, lie apart.",
            effort.triples,
            effort.slice.as_millis()
        ),
        columns: vec![
            "work",
            "attached",
            "rate without",
            "% of the rate",
            "% more processor time",
            "triples",
            "unrest, %",
        ],
        rows,
    });
    Ok(())
}

fn listen(lab: &Lab) -> Result<TcpListener> {
    lab.on(Side::Far, || {
        let mut address = Family::V4.unspecified();
        address.set_port(SINK_PORT);
        TcpListener::bind(address).context("listen")
    })
}

/// Serves one connection after the other until it is dropped.
struct Server {
    listener: TcpListener,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(listener: TcpListener, lab: &Arc<Lab>, serve: Serve) -> Result<Self> {
        let (lab, theirs) = (Arc::clone(lab), listener.try_clone()?);
        let thread = thread::spawn(move || {
            if let Err(error) = lab.pin(Side::Far) {
                eprintln!("server: {error:#}");
            }
            while let Ok((stream, _)) = theirs.accept() {
                // The client resets its connections; that is how they end.
                let _ = serve(stream);
            }
        });
        Ok(Self { listener, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes accept(2) with an error.
        let _ = rustix::net::shutdown(self.listener.as_fd(), rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn discard(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4 * BULK_BYTES];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; REQUEST_BYTES];
    loop {
        stream.read_exact(&mut buffer)?;
        stream.write_all(&buffer)?;
    }
}

fn connect() -> Result<TcpStream> {
    let stream = TcpStream::connect(Family::V4.received(0)).context("connect")?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(stream)
}

fn bulk() -> Result<Work> {
    let mut stream = connect()?;
    let buffer = vec![0; BULK_BYTES];
    Ok(Box::new(move || {
        stream.write_all(&buffer)?;
        Ok(BULK_BYTES as u64 / 1024)
    }))
}

fn requests() -> Result<Work> {
    let mut stream = connect()?;
    stream.set_nodelay(true)?;
    Ok(Box::new(move || {
        request(&mut stream)?;
        Ok(1)
    }))
}

fn connections() -> Result<Work> {
    Ok(Box::new(|| {
        request(&mut connect()?)?;
        Ok(1)
    }))
}

fn bare_connections() -> Result<Work> {
    Ok(Box::new(|| {
        connect()?;
        Ok(1)
    }))
}

fn request(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; REQUEST_BYTES];
    stream.write_all(&buffer)?;
    stream.read_exact(&mut buffer)?;
    Ok(())
}
