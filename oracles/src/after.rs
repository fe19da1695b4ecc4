//! Both sides' states after a step, replayed only when asked for.
//!
//! Two observations that agree mostly record the same changes, and then no state is needed. Where
//! they record different ones, what one side did not mention has to be looked up. [`After`] keeps
//! how far it has replayed, so that looking at every step costs no more than all changes once.

use crate::observation::{Observation, StepObservation};
use crate::state::State;

/// The states of two observations after the step in question.
#[derive(Debug)]
pub struct After<'a> {
    reference: Replay<'a>,
    subject: Replay<'a>,
    step: usize,
}

impl<'a> After<'a> {
    /// Starts out at the first step.
    pub fn new(reference: &'a Observation, subject: &'a Observation) -> After<'a> {
        After {
            reference: Replay::new(reference),
            subject: Replay::new(subject),
            step: 0,
        }
    }

    /// Moves on to `step`. Steps are only ever taken forwards.
    pub fn step(&mut self, step: usize) {
        self.step = step;
    }

    /// The reference's and the subject's state after the step.
    pub fn states(&mut self) -> (&State, &State) {
        (
            self.reference.after(self.step),
            self.subject.after(self.step),
        )
    }
}

/// One side's state, and how many steps it holds.
#[derive(Debug)]
struct Replay<'a> {
    steps: &'a [StepObservation],
    applied: usize,
    state: State,
}

impl<'a> Replay<'a> {
    fn new(observation: &'a Observation) -> Replay<'a> {
        Replay {
            steps: &observation.steps,
            applied: 0,
            state: State::default(),
        }
    }

    fn after(&mut self, step: usize) -> &State {
        while self.applied <= step
            && let Some(next) = self.steps.get(self.applied)
        {
            self.state.apply(&next.changes);
            self.applied += 1;
        }
        &self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entity, globals, steps};
    use crate::value::Value;

    #[test]
    fn states_are_those_after_the_step_whichever_steps_were_asked() {
        let history = |offset| steps((0..5).map(|step| globals(&[(0, Value::I32(step + offset))])));
        let (reference, subject) = (history(0), history(100));
        for asked in [vec![0, 1, 2, 3, 4], vec![2, 2, 4], vec![3]] {
            let mut after = After::new(&reference, &subject);
            for step in asked {
                after.step(step);
                let (a, b) = after.states();
                let value = Value::I32(step as i32);
                assert_eq!(a.global(entity(0)), Some(value));
                assert_eq!(b.global(entity(0)), Some(Value::I32(step as i32 + 100)));
            }
        }
    }

    #[test]
    fn a_step_that_was_not_run_changes_nothing() {
        let reference = steps([globals(&[(0, Value::I32(1))])]);
        let subject = steps([]);
        let mut after = After::new(&reference, &subject);
        after.step(7);
        let (a, b) = after.states();
        assert_eq!(a.global(entity(0)), Some(Value::I32(1)));
        assert_eq!(b, &State::default());
    }
}
