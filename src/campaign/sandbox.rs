//! Single cases, each in a confined worker: for commands that look at a case and not at a run.
//!
//! What a saved input did to the worker that found it, it would do to the process that looks at it
//! again. So commands have whatever runs code of a case done by a worker, under the limits of a run
//! ([`Limits`](super::Limits)), and what becomes of the worker means what it means there: a crash is a
//! finding, and a worker that had to be ended leaves the case without a verdict.

use std::fmt;

use parallax_oracles::Reason;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::examine::Found;
use super::supervise::{Death, Event, How, Station, Worker};

/// How often a request is tried again if somebody kills the worker that serves it.
const KILLS: u32 = 3;

/// Has requests served by workers, one after the other, which answer with an `A`.
pub struct Sandbox<A> {
    station: Station,
    /// The hidden command by which the program runs as such a worker.
    command: &'static str,
    /// What a worker is told first.
    orders: serde_json::Value,
    worker: Option<Worker<A>>,
    /// Whether the worker has served a request.
    in_company: bool,
}

/// What came of a request.
#[derive(Debug)]
pub struct Served<A> {
    /// The answer, or how the worker ended that served nothing else.
    pub answer: Result<A, Fate>,
    /// How a worker ended over it that had served others before, if that was a crash.
    pub ruined: Option<Death>,
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The worker is no more.
    Died(Death),
    /// It was not waited for any longer.
    Abandoned,
}

impl<A: DeserializeOwned> Sandbox<A> {
    /// Starts a worker, and waits until it is ready.
    ///
    /// # Errors
    /// One line: it cannot be started, or says that it cannot work.
    pub fn new(
        station: Station,
        command: &'static str,
        orders: &impl Serialize,
    ) -> Result<Sandbox<A>, String> {
        let mut sandbox = Sandbox {
            station,
            command,
            orders: serde_json::to_value(orders).map_err(|error| error.to_string())?,
            worker: None,
            in_company: false,
        };
        sandbox.worker = Some(sandbox.start()?);
        Ok(sandbox)
    }

    fn start(&self) -> Result<Worker<A>, String> {
        Worker::start(&self.station, self.command, &self.orders)
    }

    /// Has a request served, which may take `patience` times what a case may. If that takes until
    /// `enough` says so, it is not.
    ///
    /// A worker that served others before may have been ruined by them. So if it ends over this one, a
    /// fresh one serves it alone.
    ///
    /// # Errors
    /// One line: no worker can be started.
    pub fn ask(
        &mut self,
        request: &impl Serialize,
        patience: u32,
        enough: &dyn Fn() -> bool,
    ) -> Result<Served<A>, String> {
        let mut ruined: Option<Death> = None;
        let mut kills = 0;
        loop {
            let mut worker = match self.worker.take() {
                Some(worker) => worker,
                None => {
                    self.in_company = false;
                    self.start()?
                }
            };
            worker.be_patient(patience);
            worker.ask(request);
            let death = match worker.wait(enough) {
                Event::Answered(answer) => {
                    self.in_company = true;
                    if !worker.is_bloated() {
                        self.worker = Some(worker);
                    }
                    return Ok(Served {
                        answer: Ok(answer),
                        ruined,
                    });
                }
                Event::Unable(why) => return Err(why),
                Event::Abandoned => {
                    return Ok(Served {
                        answer: Err(Fate::Abandoned),
                        ruined,
                    });
                }
                Event::Died(death) => death,
            };
            let again = match death.how {
                How::Killed => {
                    kills += 1;
                    kills <= KILLS
                }
                _ => self.in_company,
            };
            if !again {
                return Ok(Served {
                    answer: Err(Fate::Died(death)),
                    ruined: None,
                });
            }
            if death.reason().is_none() {
                ruined.get_or_insert(death);
            }
        }
    }
}

impl<A> Served<A> {
    /// The answer; or what is to be said of the case instead, if it brought its worker down, which is
    /// what a run says of it.
    pub fn or_verdict(self) -> Result<A, Ending> {
        match (self.answer, self.ruined) {
            (Ok(answer), None) => Ok(answer),
            (Ok(_), Some(death)) => Err(Ending::crashed_in_company(&death)),
            (Err(fate), _) => Err(fate.into()),
        }
    }
}

/// What is said of a case that brought its worker down.
#[derive(Clone, PartialEq, Debug)]
pub enum Ending {
    /// A finding: what the worker came to.
    Crashed(String),
    /// No verdict: why, and what the worker came to.
    Inconclusive(Reason, String),
}

impl Ending {
    /// That a worker died of a case.
    pub fn of(death: &Death) -> Ending {
        match death.reason() {
            None => Ending::Crashed(format!("its worker crashed: {death}")),
            Some(reason) => Ending::Inconclusive(reason, death.to_string()),
        }
    }

    /// That a worker died of a case that another one survives.
    pub fn crashed_in_company(death: &Death) -> Ending {
        Ending::Crashed(format!(
            "its worker crashed, but does not if it runs nothing else before: {death}"
        ))
    }

    /// What is found, if it is a finding.
    pub fn found(&self) -> Option<Found> {
        match self {
            Ending::Crashed(why) => Some(Found::failure(why.clone())),
            Ending::Inconclusive(..) => None,
        }
    }
}

impl From<Fate> for Ending {
    fn from(fate: Fate) -> Ending {
        match fate {
            Fate::Died(death) => Ending::of(&death),
            Fate::Abandoned => Ending::Inconclusive(Reason::Killed, "it was stopped".to_string()),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Crashed(why) => f.write_str(why),
            Ending::Inconclusive(reason, what) => write!(f, "{reason}: {what}"),
        }
    }
}
