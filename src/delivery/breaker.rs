//! The breaker of one recipient (`ecosystem.md` 2.2). Pure: the time is an argument.
//!
//! While it is open nothing is sent and no try is counted, so that a recipient that is away for an
//! hour does not use up the tries of everything that waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use super::boot_clock::BootInstant;

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;
/// Results looked back on; half of them failing opens it.
const LOOKED_AT: usize = 20;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Whether a recipient may be called now.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: State,
    in_a_row: u32,
    recent: VecDeque<Health>,
}

/// What a try said about the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered.
    Well,
    /// It could not be reached, was overloaded, or refused our credentials.
    Failing,
}

/// The breaker's answer. It is given back with the try's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Send.
    Send,
    /// Send this one and no other until its result is known.
    Probe,
    /// Send nothing; ask again after this time.
    Wait(Duration),
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: BootInstant,
        pause: Duration,
    },
    /// One is on its way. Should its result never come (the task died), another may go at `until`.
    HalfOpen {
        until: BootInstant,
        pause: Duration,
    },
}

impl Breaker {
    /// Whether one more may be sent now.
    pub fn ask(&mut self, now: BootInstant) -> Permit {
        match self.state {
            State::Closed => Permit::Send,
            State::Open { until, .. } | State::HalfOpen { until, .. } if now < until => Permit::Wait(until.since(now)),
            State::Open { pause, .. } | State::HalfOpen { pause, .. } => {
                self.state = State::HalfOpen { until: now.plus(pause), pause };
                Permit::Probe
            }
        }
    }

    /// Records the result of a try made under `permit`.
    pub fn settle(&mut self, permit: Permit, health: Health, now: BootInstant) {
        match (self.state, permit, health) {
            (State::Closed, _, _) => self.observe(health, now),
            (State::HalfOpen { .. }, Permit::Probe, Health::Well) => *self = Self::default(),
            (State::HalfOpen { pause, .. }, Permit::Probe, Health::Failing) => {
                self.open(pause.saturating_mul(2).min(LONGEST_PAUSE), now);
            }
            // A straggler sent before the breaker opened says nothing new.
            (State::Open { .. } | State::HalfOpen { .. }, _, _) => {}
        }
    }

    /// Whether it is open or half-open, for the metric and the console.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    fn observe(&mut self, health: Health, now: BootInstant) {
        self.in_a_row = match health {
            Health::Well => 0,
            Health::Failing => self.in_a_row.saturating_add(1),
        };
        self.recent.push_back(health);
        if self.recent.len() > LOOKED_AT {
            self.recent.pop_front();
        }
        let failing = self.recent.iter().filter(|health| **health == Health::Failing).count();
        let half = self.recent.len() == LOOKED_AT && failing * 2 >= LOOKED_AT;
        if self.in_a_row >= IN_A_ROW || half {
            self.open(FIRST_PAUSE, now);
        }
    }

    fn open(&mut self, pause: Duration, now: BootInstant) {
        self.in_a_row = 0;
        self.recent.clear();
        self.state = State::Open { until: now.plus(pause), pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_start(Duration::from_secs(seconds))
    }

    fn failing(breaker: &mut Breaker, times: u32, now: BootInstant) {
        for _ in 0..times {
            let permit = breaker.ask(now);
            breaker.settle(permit, Health::Failing, now);
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_four_do_not() {
        let mut breaker = Breaker::default();
        failing(&mut breaker, 4, at(0));
        assert_eq!(breaker.ask(at(0)), Permit::Send);
        failing(&mut breaker, 1, at(0));
        assert_eq!(breaker.ask(at(1)), Permit::Wait(Duration::from_secs(29)));
    }

    #[test]
    fn half_of_the_last_twenty_opens_it() {
        let mut breaker = Breaker::default();
        for index in 0..19 {
            let health = if index % 2 == 0 { Health::Failing } else { Health::Well };
            breaker.settle(Permit::Send, health, at(0));
        }
        assert!(!breaker.is_open());
        breaker.settle(Permit::Send, Health::Well, at(0));
        assert!(breaker.is_open());
    }

    #[test]
    fn the_pause_doubles_to_a_quarter_of_an_hour_and_a_good_probe_closes_it() {
        let mut breaker = Breaker::default();
        failing(&mut breaker, 5, at(0));
        let mut now = 0;
        for pause in [30, 60, 120, 240, 480, 900, 900] {
            assert_eq!(breaker.ask(at(now)), Permit::Wait(Duration::from_secs(pause)));
            now += pause;
            assert_eq!(breaker.ask(at(now)), Permit::Probe);
            assert!(matches!(breaker.ask(at(now)), Permit::Wait(_)), "only one at a time");
            breaker.settle(Permit::Probe, Health::Failing, at(now));
        }
        now += 900;
        assert_eq!(breaker.ask(at(now)), Permit::Probe);
        breaker.settle(Permit::Probe, Health::Well, at(now));
        assert_eq!(breaker.ask(at(now)), Permit::Send);
    }

    #[test]
    fn a_lost_probe_does_not_close_the_door_for_ever() {
        let mut breaker = Breaker::default();
        failing(&mut breaker, 5, at(0));
        assert_eq!(breaker.ask(at(30)), Permit::Probe);
        assert_eq!(breaker.ask(at(60)), Permit::Probe);
    }

    proptest! {
        #[test]
        fn it_never_waits_longer_than_its_longest_pause_and_probes_one_by_one(
            steps in proptest::collection::vec((0u64..2_000, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let mut breaker = Breaker::default();
            let mut now = 0;
            for (pass, well, answered) in steps {
                now += pass;
                let permit = breaker.ask(at(now));
                match permit {
                    Permit::Wait(wait) => {
                        prop_assert!(wait <= LONGEST_PAUSE && !wait.is_zero());
                        continue;
                    }
                    Permit::Probe => prop_assert!(matches!(breaker.ask(at(now)), Permit::Wait(_))),
                    Permit::Send => prop_assert!(!breaker.is_open()),
                }
                if answered {
                    let health = if well { Health::Well } else { Health::Failing };
                    breaker.settle(permit, health, at(now));
                    if permit == Permit::Probe {
                        prop_assert_eq!(breaker.is_open(), !well);
                    }
                }
            }
        }
    }
}
