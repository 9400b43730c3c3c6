//! Processes held still by SIGSTOP; they go on when the value is dropped.

pub struct Stopped {
    pids: Vec<u32>,
}

impl Stopped {
    /// Returns once all of them stand still.
    pub fn stop(pids: &[u32]) -> Self {
        let stopped = Self { pids: pids.to_vec() };
        stopped.signal(libc::SIGSTOP);
        for pid in pids {
            let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            crate::wait_until(&format!("{pid} stands still"), || {
                let state = state();
                state.is_empty() || state.contains(") T ")
            });
        }
        stopped
    }

    fn signal(&self, signal: i32) {
        for pid in &self.pids {
            // SAFETY: a plain system call.
            unsafe { libc::kill(*pid as i32, signal) };
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(libc::SIGCONT);
    }
}
