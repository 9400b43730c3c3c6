//! How many page faults a task has had: the kernel counts them in the task itself, so no program runs at a fault.

use pgstrobe_common::{faults::Faults, fields::ABSENT};

use super::{Task, load};
use crate::globals::setting;

impl Task {
    /// Its page faults so far; none where they are unknown.
    #[inline(always)]
    pub fn faults(self) -> Faults {
        let (minor, major) = (setting!(kernel.task_min_flt), setting!(kernel.task_maj_flt));
        if minor == ABSENT || major == ABSENT {
            return Faults::default();
        }
        // SAFETY: present.
        unsafe { Faults { minor: load(self.0, minor), major: load(self.0, major) } }
    }
}
