//! The order of the stages between ingest and compose.

use super::report::Stage;
use crate::pack::Schedule;

/// A stage between ingest and compose, with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// I = k·I + (1 − k)·I', with the stream's fused picture I' moved along the motion: the update of P through time.
    Fuse,
    /// P, Q = Decomposition(I).
    Decompose,
    /// P = (I·Q + γ·R) / (Q·Q + γ), then Q = (Σ I·P + λ·L) / (Σ P·P + λ) with the new P, the sums over the channels.
    Update {
        /// γ of this round, above 0.
        gamma: f32,
        /// λ of this round, above 0.
        lambda: f32,
    },
    /// R = Restoration(P, Q).
    Restore,
    /// L = Illumination(Q).
    Illuminate,
    /// L' = Adjustment(L, ratio).
    Adjust,
    /// L'·R in one go: the steps [`OF_ROUND`](Step::OF_ROUND), on a backend that runs them as one network.
    Round,
}

impl Step {
    /// What [`Step::Round`] is, step by step.
    pub const OF_ROUND: [Step; 4] = [Step::Decompose, Step::Restore, Step::Illuminate, Step::Adjust];

    /// The stage whose time this step counts towards.
    pub const fn stage(self) -> Stage {
        match self {
            Step::Fuse => Stage::Fuse,
            Step::Decompose => Stage::Decompose,
            Step::Update { .. } => Stage::Update,
            Step::Restore | Step::Round => Stage::Restore,
            Step::Illuminate => Stage::Illuminate,
            Step::Adjust => Stage::Adjust,
        }
    }
}

/// The steps of a frame: decomposition, T rounds, adjustment (URetinex-Net, CVPR 2022, section 3). Round 0 takes P and Q
/// from the decomposition; γ and λ grow by a step with each further round.
pub fn steps(schedule: &Schedule) -> Vec<Step> {
    let mut steps = vec![Step::Decompose];
    for round in 0..schedule.rounds {
        if round > 0 {
            let (gamma, lambda) = (schedule.gamma(round), schedule.lambda(round));
            steps.push(Step::Update { gamma, lambda });
        }
        steps.extend([Step::Restore, Step::Illuminate]);
    }
    steps.push(Step::Adjust);
    steps
}

/// The steps of a frame of a stream with a memory: one round stands for all of [`steps`], since earlier frames have
/// refined the picture.
pub fn steps_through_time() -> Vec<Step> {
    [Step::Fuse].into_iter().chain(Step::OF_ROUND).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_begin_with_an_update_except_the_first() {
        use Step::{Adjust, Decompose, Illuminate, Restore, Update};
        let schedule = Schedule {
            rounds: 3,
            gamma: 0.125,
            gamma_step: 0.0625,
            lambda: 0.5,
            lambda_step: 0.25,
        };
        let update = |gamma, lambda| Update { gamma, lambda };
        assert_eq!(
            steps(&schedule),
            [
                Decompose,
                Restore,
                Illuminate,
                update(0.1875, 0.75),
                Restore,
                Illuminate,
                update(0.25, 1.0),
                Restore,
                Illuminate,
                Adjust
            ]
        );
        let single = Schedule { rounds: 1, ..schedule };
        assert_eq!(steps(&single), [Decompose, Restore, Illuminate, Adjust]);
    }
}
