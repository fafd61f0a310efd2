//! The loop: asks, draws, reads keys, and gives the terminal back, whatever happens.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    draw::{Paint, draw},
    rows::Sample,
    state::{Order, State, View, Wish},
};

/// A key is answered within this time.
const TICK: Duration = Duration::from_millis(100);

/// Runs until somebody quits. `ask` is called from another thread, once in `every`: an agent that hangs does not hold
/// up the keys.
///
/// # Errors
///
/// When the terminal cannot be used.
pub fn run(
    view: View,
    order: Order,
    filter: String,
    colours: bool,
    every: Duration,
    first: Sample,
    ask: impl FnMut() -> Result<Sample, String> + Send + 'static,
) -> io::Result<()> {
    let mut state = State::new(view, order, filter);
    state.take(Ok(first));
    let answers = follow(every, ask)?;
    let told_to_end = ends()?;
    // Also sets a hook that gives the terminal back before a panic is told.
    let mut terminal = ratatui::try_init()?;
    let result = (|| {
        while !told_to_end.load(Ordering::Relaxed) {
            for answer in answers.try_iter() {
                state.take(answer);
            }
            terminal.draw(|frame| draw(frame, &mut state, Paint(colours)))?;
            if event::poll(TICK)?
                && let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && state.key(key) == Wish::Quit
            {
                break;
            }
        }
        Ok(())
    })();
    let restored = ratatui::try_restore();
    result.and(restored)
}

/// Asks again and again, until nobody listens.
fn follow(
    every: Duration,
    mut ask: impl FnMut() -> Result<Sample, String> + Send + 'static,
) -> io::Result<Receiver<Result<Sample, String>>> {
    let (sender, answers): (SyncSender<_>, _) = mpsc::sync_channel(1);
    thread::Builder::new().name("top-asks".to_owned()).spawn(move || {
        loop {
            thread::sleep(every);
            if sender.send(ask()).is_err() {
                return;
            }
        }
    })?;
    Ok(answers)
}

/// The loop has so long to end by itself.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// True once the program is to end, because a signal says so or its terminal is gone: the loop gives the terminal back.
///
/// Where it cannot, since reading keys from a terminal that is gone never comes back, the program ends all the same.
fn ends() -> io::Result<Arc<AtomicBool>> {
    let told = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&told);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("top-signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let (Ok(mut terminate), Ok(mut hangup)) =
                (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                () = hung_up() => {}
            }
            shared.store(true, Ordering::Relaxed);
            tokio::time::sleep(LAST_MOMENTS).await;
            ratatui::restore();
            std::process::exit(1);
        });
    })?;
    Ok(told)
}

/// Waits until the terminal is gone.
async fn hung_up() {
    let stdin = io::stdin();
    loop {
        tokio::time::sleep(LAST_MOMENTS).await;
        let mut asked = [PollFd::new(&stdin, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().intersects(gone) {
            return;
        }
    }
}
