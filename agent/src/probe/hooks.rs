//! Programs on their hooks: attached, handed over to the next build, looked after.
//!
//! A link of a cgroup or of tcx changes its program at once: each packet is seen by exactly one of the two. A link
//! of a tracepoint cannot, so the new one is attached before the old one goes; both may tell the same thing for a
//! moment, which is harmless: stamps and marks are the same, and names are told twice. Before Linux 6.6 filters
//! hang on the clsact qdisc, where replacing a filter in place changes its program at once, too.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{
        ProgramError, SchedClassifier, TcAttachType, TcError,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
};

use super::{
    load::chain,
    pins::{Pins, pinned_at},
    programs::{Kind, Program},
    qdisc,
    support::{self, TCX},
    sys::objects::{
        AttachType, LinkTarget, attach_to_cgroup, attach_to_interface, attach_to_tracepoint, link_target,
        open_pinned, replace_program,
    },
};
use crate::clock::WallTime;

/// Priority and handle of our filters on the clsact qdisc, so that the next build finds them.
const FILTER_PRIORITY: u16 = 49_500;
const FILTER_HANDLE: (u16, u16) = (0, 1);

/// Where a program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The cgroup whose sockets are observed.
    Cgroup(PathBuf),
    /// A hook of the whole kernel.
    Kernel,
    /// An interface of the agent's network namespace.
    Interface {
        /// Its index.
        index: u32,
        /// Its name when it was attached.
        name: String,
    },
}

/// One attached program.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Which.
    pub program: &'static Program,
    /// Where.
    pub at: At,
    /// Since when it has been there without a break, agents before this one included.
    pub since: WallTime,
    /// How it is now.
    pub condition: Condition,
}

/// How an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The program runs.
    Attached,
    /// The program runs as long as this agent does: somebody removed the pin.
    Unpinned,
    /// Somebody detached it, or what it was attached to is gone.
    Gone,
}

/// What became of an attachment that was not as it should be.
#[derive(Debug)]
pub struct Repair {
    /// Which program.
    pub program: &'static Program,
    /// Where.
    pub at: At,
    /// What was wrong.
    pub was: Condition,
    /// Why it still is.
    pub failure: Option<String>,
}

/// A cgroup that programs are attached to.
#[derive(Debug)]
pub(super) struct Cgroup {
    pub(super) path: PathBuf,
    pub(super) directory: File,
}

#[derive(Debug)]
enum Holder {
    Link {
        link: OwnedFd,
        pin: Option<PathBuf>,
    },
    /// A filter on the clsact qdisc. It outlives the agent by itself, unless it should not.
    Filter {
        stays: bool,
        /// What it hangs on was made for it, and is not noted anywhere else.
        qdisc_is_ours: bool,
    },
}

#[derive(Debug)]
struct Hook {
    program: &'static Program,
    at: At,
    since: WallTime,
    holder: Holder,
}

impl Drop for Hook {
    fn drop(&mut self) {
        if let (Holder::Filter { stays: false, qdisc_is_ours }, At::Interface { index, name }) =
            (&self.holder, &self.at)
        {
            let _ = tc::qdisc_detach_program(name, TcAttachType::Egress, self.program.name);
            if *qdisc_is_ours {
                let _ = qdisc::remove_unused(*index);
            }
        }
    }
}

/// Everything that is attached.
#[derive(Debug)]
pub(super) struct Hooks {
    cgroup: Cgroup,
    list: Vec<Hook>,
    /// What an earlier agent had attached, and was found detached.
    vanished: Vec<(&'static Program, At)>,
}

impl Hooks {
    pub(super) const fn new(cgroup: Cgroup) -> Self {
        Self { cgroup, list: Vec::new(), vanished: Vec::new() }
    }

    /// What an earlier agent had attached and somebody has detached since, as far as that could be told so far.
    pub(super) fn take_vanished(&mut self) -> Vec<(&'static Program, At)> {
        std::mem::take(&mut self.vanished)
    }

    /// Attaches a program of a cgroup or tracepoint, or hands the pinned link of an earlier agent to it.
    pub(super) fn attach(
        &mut self,
        ebpf: &Ebpf,
        program: &'static Program,
        pins: Option<&Pins>,
    ) -> io::Result<()> {
        let at = match program.kind {
            Kind::CgroupSkb | Kind::CgroupSockAddr | Kind::CgroupSock => At::Cgroup(self.cgroup.path.clone()),
            Kind::RawTracepoint | Kind::BtfTracepoint => At::Kernel,
            Kind::Classifier => return Ok(()),
        };
        let code = code(ebpf, program.name)?;
        let (link, since) = match pins.map(|pins| pins.link(program.name)) {
            Some(pin) => match self.take_over(program, (code, &at), &pin)? {
                Some(link) => (link, pinned_at(&pin)),
                None => (self.attach_new(program, code)?, None),
            },
            None => (self.attach_new(program, code)?, None),
        };
        let pin = match pins {
            Some(pins) if since.is_none() => Some(pins.pin_link(&link, program.name)?),
            Some(pins) => Some(pins.link(program.name)),
            None => None,
        };
        self.keep(Hook {
            program,
            at,
            since: since.unwrap_or_else(WallTime::now),
            holder: Holder::Link { link, pin },
        });
        Ok(())
    }

    /// The pinned link with our program instead of the earlier one; `None` when a new link is needed.
    fn take_over(
        &mut self,
        program: &'static Program,
        (code, at): (BorrowedFd<'_>, &At),
        pin: &Path,
    ) -> io::Result<Option<OwnedFd>> {
        let Ok(link) = open_pinned(pin) else { return Ok(None) };
        let target = link_target(&link)?;
        if !target.is_alive() {
            self.vanished.push((program, at.clone()));
        }
        let is_ours = match target {
            // A tracepoint's program cannot be replaced: the new link takes the old one's name, and ends it.
            LinkTarget::Tracepoint => return Ok(None),
            LinkTarget::Cgroup(id) => id == self.cgroup.directory.metadata()?.ino(),
            LinkTarget::Interface(_) => false,
        };
        if is_ours {
            match replace_program(&link, code) {
                Ok(()) => return Ok(Some(link)),
                Err(error) => {
                    tracing::warn!(program = program.name, %error, "taking over an attached program failed; it is attached again");
                }
            }
        }
        // Both at once would count every packet twice.
        fs::remove_file(pin)?;
        Ok(None)
    }

    fn attach_new(&self, program: &Program, code: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        match program.kind {
            Kind::RawTracepoint => {
                let name = CString::new(program.hook)?;
                attach_to_tracepoint(code, Some(&name))
            }
            Kind::BtfTracepoint => attach_to_tracepoint(code, None),
            Kind::CgroupSkb | Kind::CgroupSockAddr | Kind::CgroupSock => {
                attach_to_cgroup(code, &self.cgroup.directory, attach_type(program)?)
            }
            Kind::Classifier => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Attaches a program to an interface, or takes over the link or filter that an earlier agent left there.
    pub(super) fn attach_interface(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static Program,
        (index, interface): (u32, &str),
        pins: Option<&Pins>,
    ) -> io::Result<()> {
        let at = At::Interface { index, name: interface.to_owned() };
        if !has_tcx() {
            let is_made = qdisc::make((index, interface), pins);
            attach_filter(ebpf, program, interface)?;
            let holder = Holder::Filter { stays: pins.is_some(), qdisc_is_ours: is_made && pins.is_none() };
            self.keep(Hook { program, at, since: WallTime::now(), holder });
            return Ok(());
        }
        let code = code(ebpf, program.name)?;
        let name = interface_pin(program, index);
        let mut taken = None;
        if let Some(pin) = pins.map(|pins| pins.link(&name))
            && let Ok(old) = open_pinned(&pin)
        {
            let alive = link_target(&old)?.is_alive();
            if alive && replace_program(&old, code).is_ok() {
                taken = Some((old, pinned_at(&pin)));
            } else {
                if !alive {
                    self.vanished.push((program, at.clone()));
                }
                fs::remove_file(&pin)?;
            }
        }
        let is_new = taken.is_none();
        let (held, since) = match taken {
            Some(taken) => taken,
            None => (attach_to_interface(code, index, AttachType::TcxEgress)?, None),
        };
        let pin = match pins {
            Some(pins) if is_new => Some(pins.pin_link(&held, &name)?),
            Some(pins) => Some(pins.link(&name)),
            None => None,
        };
        self.keep(Hook {
            program,
            at,
            since: since.unwrap_or_else(WallTime::now),
            holder: Holder::Link { link: held, pin },
        });
        Ok(())
    }

    fn keep(&mut self, hook: Hook) {
        let same = |known: &Hook| (known.program.name, &known.at) == (hook.program.name, &hook.at);
        match self.list.iter().position(same) {
            // Dropping the old one closes its descriptor; what is attached stays under its pin.
            Some(idx) => {
                let mut old = std::mem::replace(&mut self.list[idx], hook);
                if let Holder::Filter { stays, qdisc_is_ours: was_ours } = &mut old.holder {
                    *stays = true;
                    if let Holder::Filter { qdisc_is_ours, .. } = &mut self.list[idx].holder {
                        *qdisc_is_ours |= *was_ours;
                    }
                }
            }
            None => self.list.push(hook),
        }
    }

    /// An interface has another name. Links follow it by themselves; filters are found by name.
    pub(super) fn rename_interface(&mut self, index: u32, interface: &str) {
        for hook in &mut self.list {
            if let At::Interface { index: at, name } = &mut hook.at
                && *at == index
            {
                interface.clone_into(name);
            }
        }
    }

    /// Detaches from an interface: it is gone, or no edge any more.
    pub(super) fn forget_interface(&mut self, index: u32) {
        let is_there = |hook: &Hook| matches!(hook.at, At::Interface { index: at, .. } if at == index);
        for mut hook in self.list.extract_if(.., |hook| is_there(hook)) {
            match &mut hook.holder {
                Holder::Link { pin: Some(pin), .. } => {
                    if let Err(error) = fs::remove_file(&*pin) {
                        tracing::debug!(%error, pin = %pin.display(), "removing the link of an interface");
                    }
                }
                Holder::Link { pin: None, .. } => {}
                Holder::Filter { stays, .. } => *stays = false,
            }
        }
    }

    /// Removes pinned links that earlier agents left and this one has no use for; returns their names.
    pub(super) fn remove_strangers(&self, pins: &Pins) -> io::Result<Vec<String>> {
        let mut removed = Vec::new();
        for (name, path) in pins.links()? {
            let is_known = self
                .list
                .iter()
                .any(|hook| matches!(&hook.holder, Holder::Link { pin: Some(pin), .. } if *pin == path));
            if !is_known {
                fs::remove_file(path)?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    /// Every attachment, with how it is now. One system call each.
    pub(super) fn attachments(&self, ebpf: &mut Ebpf) -> Vec<Attachment> {
        self.list
            .iter()
            .map(|hook| Attachment {
                program: hook.program,
                at: hook.at.clone(),
                since: hook.since,
                condition: condition(hook, ebpf),
            })
            .collect()
    }

    /// Attaches again what is gone, and pins again what was unpinned. Interfaces that are gone are left to
    /// [`Self::forget_interface`].
    pub(super) fn repair(&mut self, ebpf: &mut Ebpf, pins: Option<&Pins>) -> Vec<Repair> {
        let broken: Vec<(&'static Program, At, Condition)> = self
            .list
            .iter()
            .map(|hook| (hook.program, hook.at.clone(), condition(hook, ebpf)))
            .filter(|(.., condition)| *condition != Condition::Attached)
            .collect();
        let repairs = broken
            .into_iter()
            .map(|(program, at, was)| {
                let result = match was {
                    Condition::Unpinned => self.pin_again(program, &at, pins),
                    Condition::Gone | Condition::Attached => self.attach_again(ebpf, program, &at, pins),
                };
                Repair { program, at, was, failure: result.err().map(|error| error.to_string()) }
            })
            .collect();
        // These are being told already.
        self.vanished.clear();
        repairs
    }

    fn attach_again(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static Program,
        at: &At,
        pins: Option<&Pins>,
    ) -> io::Result<()> {
        match at {
            At::Cgroup(path) => {
                // The mount may have been replaced by another one.
                self.cgroup.directory = File::open(path)?;
                self.attach(ebpf, program, pins)
            }
            At::Kernel => self.attach(ebpf, program, pins),
            At::Interface { index, name } => self.attach_interface(ebpf, program, (*index, name), pins),
        }
    }

    fn pin_again(&mut self, program: &Program, at: &At, pins: Option<&Pins>) -> io::Result<()> {
        let Some(pins) = pins else { return Ok(()) };
        let name = match at {
            At::Interface { index, .. } => interface_pin(program, *index),
            At::Cgroup(_) | At::Kernel => program.name.to_owned(),
        };
        for hook in &mut self.list {
            if hook.program.name == program.name
                && hook.at == *at
                && let Holder::Link { link, pin } = &mut hook.holder
            {
                *pin = Some(pins.pin_link(&*link, &name)?);
            }
        }
        Ok(())
    }
}

fn condition(hook: &Hook, ebpf: &mut Ebpf) -> Condition {
    match &hook.holder {
        Holder::Link { link, pin } => match link_target(link) {
            Ok(target) if !target.is_alive() => Condition::Gone,
            Ok(_) if pin.as_ref().is_some_and(|pin| !pin.exists()) => Condition::Unpinned,
            Ok(_) => Condition::Attached,
            Err(_) => Condition::Gone,
        },
        Holder::Filter { .. } => {
            let At::Interface { name, .. } = &hook.at else { return Condition::Gone };
            // Replacing a filter by itself changes nothing, and is refused when it is not there.
            match replace_filter(ebpf, hook.program, name) {
                Ok(()) => Condition::Attached,
                Err(_) => Condition::Gone,
            }
        }
    }
}

fn interface_pin(program: &Program, index: u32) -> String {
    format!("{}-{index}", program.name)
}

/// A loaded program.
fn code<'a>(ebpf: &'a Ebpf, name: &str) -> io::Result<BorrowedFd<'a>> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("program {name} is not loaded"));
    let program = ebpf.program(name).ok_or_else(missing)?;
    program.fd().map(|fd| fd.as_fd()).map_err(|_| missing())
}

fn attach_type(program: &Program) -> io::Result<AttachType> {
    Ok(match program.hook {
        "cgroup_skb/egress" => AttachType::CgroupEgress,
        "connect4" => AttachType::CgroupConnect4,
        "connect6" => AttachType::CgroupConnect6,
        "post_bind4" => AttachType::CgroupPostBind4,
        "post_bind6" => AttachType::CgroupPostBind6,
        "sock_create" => AttachType::CgroupSockCreate,
        "sock_release" => AttachType::CgroupSockRelease,
        other => {
            let text = format!("{other} is no hook of a cgroup");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    })
}

pub(super) fn has_tcx() -> bool {
    support::running().is_some_and(|version| TCX.is_in(version))
}

fn filter_options() -> NlOptions {
    let (major, minor) = FILTER_HANDLE;
    NlOptions { priority: FILTER_PRIORITY, handle: TcHandle::new(major, minor), classid: None }
}

/// Attaches a filter, in place of the one that an earlier agent left. Such filters outlive the agent.
fn attach_filter(ebpf: &mut Ebpf, program: &Program, interface: &str) -> io::Result<()> {
    if replace_filter(ebpf, program, interface).is_ok() {
        return Ok(());
    }
    let handle = classifier(ebpf, program)?;
    let link = handle
        .attach_with_options(interface, TcAttachType::Egress, TcAttachOptions::Netlink(filter_options()))
        .and_then(|id| handle.take_link(id))
        .map_err(|error| io::Error::other(chain(&error)))?;
    // Dropping it would detach the filter.
    std::mem::forget(link);
    Ok(())
}

fn replace_filter(ebpf: &mut Ebpf, program: &Program, interface: &str) -> io::Result<()> {
    let NlOptions { priority, handle, classid } = filter_options();
    let old = SchedClassifierLink::attached(interface, TcAttachType::Egress, priority, handle, classid)?;
    let code = classifier(ebpf, program)?;
    let link = code.attach_to_link(old).and_then(|id| code.take_link(id)).map_err(|error| match error {
        ProgramError::TcError(TcError::NetlinkError(error)) => {
            error.raw_os_error().map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
        }
        other => io::Error::other(chain(&other)),
    })?;
    std::mem::forget(link);
    Ok(())
}

fn classifier<'a>(ebpf: &'a mut Ebpf, program: &Program) -> io::Result<&'a mut SchedClassifier> {
    ebpf.program_mut(program.name)
        .and_then(|handle| handle.try_into().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no program {}", program.name)))
}
