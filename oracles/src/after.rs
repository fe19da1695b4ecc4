//! Both sides' states after a step or at a host call of one, replayed only when asked for.
//!
//! Two observations that agree mostly record the same changes, and then no state is needed. Where
//! they record different ones, what one side did not mention has to be looked up. [`After`] keeps
//! how far it has replayed, so that looking at every step costs no more than all changes once.

use crate::observation::{Changes, Observation, StepObservation};
use crate::state::State;

/// The states of two observations after the step in question, or at a host call of it.
#[derive(Debug)]
pub struct After<'a> {
    reference: Replay<'a>,
    subject: Replay<'a>,
    step: usize,
    /// What the two sides had changed in the step by the call, if one is in question.
    by_call: Option<(&'a Changes, &'a Changes)>,
}

impl<'a> After<'a> {
    /// Starts out at the first step.
    pub fn new(reference: &'a Observation, subject: &'a Observation) -> After<'a> {
        After {
            reference: Replay::new(reference),
            subject: Replay::new(subject),
            step: 0,
            by_call: None,
        }
    }

    /// Moves on to the end of `step`. Steps are only ever taken forwards.
    pub fn step(&mut self, step: usize) {
        self.step = step;
        self.by_call = None;
    }

    /// Moves to a host call of `step`, by which the two sides had changed this since the step before. To be
    /// asked before the states at the end of that step.
    pub fn call(&mut self, step: usize, reference: &'a Changes, subject: &'a Changes) {
        self.step = step;
        self.by_call = Some((reference, subject));
    }

    /// The reference's and the subject's state there.
    pub fn states(&mut self) -> (&State, &State) {
        match self.by_call {
            Some((reference, subject)) => (
                self.reference.at_call(self.step, reference),
                self.subject.at_call(self.step, subject),
            ),
            None => (
                self.reference.after(self.step),
                self.subject.after(self.step),
            ),
        }
    }
}

/// One side's state, and how many steps it holds.
#[derive(Debug)]
struct Replay<'a> {
    steps: &'a [StepObservation],
    applied: usize,
    state: State,
    /// The state at the host call that was last asked about.
    at_call: State,
}

impl<'a> Replay<'a> {
    fn new(observation: &'a Observation) -> Replay<'a> {
        Replay {
            steps: &observation.steps,
            applied: 0,
            state: State::default(),
            at_call: State::default(),
        }
    }

    fn after(&mut self, step: usize) -> &State {
        self.replay(step + 1);
        &self.state
    }

    /// The state at a host call of a step, by which this had changed.
    fn at_call(&mut self, step: usize, changes: &Changes) -> &State {
        self.replay(step);
        self.at_call.clone_from(&self.state);
        self.at_call.apply(changes);
        &self.at_call
    }

    /// Applies what the first `steps` steps changed.
    fn replay(&mut self, steps: usize) {
        while self.applied < steps
            && let Some(next) = self.steps.get(self.applied)
        {
            self.state.apply(&next.changes);
            self.applied += 1;
        }
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
    fn states_at_calls_build_on_the_step_before() {
        let history = steps((0..3).map(|step| globals(&[(step, Value::I32(1))])));
        let (early, late) = (
            globals(&[(0, Value::I32(7))]),
            globals(&[(2, Value::I32(8))]),
        );
        let mut after = After::new(&history, &history);
        for changes in [&early, &late] {
            after.call(1, changes, &early);
            let (a, b) = after.states();
            let first = if changes == &early { 7 } else { 1 };
            assert_eq!(a.global(entity(0)), Some(Value::I32(first)));
            assert_eq!(a.global(entity(1)), None);
            assert_eq!(a.global(entity(2)).is_some(), changes == &late);
            assert_eq!(b.global(entity(0)), Some(Value::I32(7)));
        }
        after.step(1);
        let (a, b) = after.states();
        assert_eq!(a, b);
        assert_eq!(a.global(entity(0)), Some(Value::I32(1)));
        assert_eq!(a.global(entity(1)), Some(Value::I32(1)));
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
