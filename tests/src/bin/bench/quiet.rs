//! What else the machine did during the run: figures from a machine that works for others are worth less, and must say so.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};

/// Share of the processors that others may take, in per cent, before the page warns.
const QUIET_PERCENT: f64 = 10.0;

/// Processor time of the machine and of this process at one moment, in clock ticks.
pub(crate) struct Machine {
    at: Instant,
    /// Everything that ran.
    busy: u64,
    /// What the host of the virtual machine took.
    stolen: u64,
    /// Of `busy`, this process and the programs it started.
    own: u64,
    load: String,
}

impl Machine {
    pub(crate) fn now() -> Result<Self> {
        let (busy, stolen) = machine_ticks(&fs::read_to_string("/proc/stat")?).context("/proc/stat")?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        let own = own_ticks(&fs::read_to_string("/proc/self/stat")?).context("/proc/self/stat")?;
        Ok(Self { at: Instant::now(), busy, stolen, own, load })
    }

    /// What happened since then, as a paragraph.
    pub(crate) fn during(&self) -> Result<String> {
        let now = Self::now()?;
        let processors = std::thread::available_parallelism()?.get() as f64;
        let passed = now.at.duration_since(self.at).as_secs_f64();
        let available = passed * processors * rustix::param::clock_ticks_per_second() as f64;
        let percent = |ticks: u64| ticks as f64 / available * 100.0;
        let own = now.own - self.own;
        let others = percent((now.busy - self.busy).saturating_sub(own));
        let stolen = percent(now.stolen - self.stolen);
        let warning = if others + stolen > QUIET_PERCENT {
            "\n\n**The machine was not quiet. Figures in time that passes (TCP rates, latencies, syncs) are those of a busy \
             machine; processor time and its shares suffer less.**"
        } else {
            ""
        };
        Ok(format!(
            "\nThe run took {passed:.0} s. Meanwhile programs other than the bench took {others:.0} % of the processors, and \
             the host of the virtual machine {stolen:.0} %; load average {} before and {} after. A budget is *not decided* \
             when its limit lies within the 95 % interval of the figure.{warning}\n",
            self.load, now.load
        ))
    }
}

/// Ticks that ran, and ticks that were stolen, of all processors.
fn machine_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user.
    let [user, nice, system, _, _, irq, softirq, stolen] = *ticks.first_chunk()?;
    Some((user + nice + system + irq + softirq, stolen))
}

/// User and system time of a process and of those it has waited for.
fn own_ticks(stat: &str) -> Option<u64> {
    // The name, in brackets, may contain anything; behind it the state is field 3, and the times are 14 to 17.
    let (_, fields) = stat.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(4).map(str::parse::<u64>);
    times.collect::<Result<Vec<_>, _>>().ok().filter(|times| times.len() == 4).map(|times| times.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_right_columns() {
        let stat = "cpu  10 20 30 400 50 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(machine_ticks(stat), Some((73, 8)));
        assert_eq!(machine_ticks("cpu  1 2"), None);
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5";
        assert_eq!(own_ticks(stat), Some(127));
        assert_eq!(own_ticks("7 (x) S 1"), None);
    }
}
