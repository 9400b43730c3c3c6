//! The beat of a profile: a timer of the kernel, so that nothing wakes up in between. The runtime's own timer wakes up
//! to three times for one beat, which was a third of what an idle profile costs.

use std::{
    io::{Error, Result},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use tokio::io::unix::AsyncFd;

pub struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// Beats every `period`, which is not zero; must be called within a runtime.
    ///
    /// # Errors
    /// The kernel gives no timer, or the runtime cannot wait for it.
    pub fn new(period: Duration) -> Result<Self> {
        // SAFETY: a plain call; the descriptor is ours.
        let timer = unsafe {
            match libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) {
                fd if fd < 0 => return Err(Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        let time =
            libc::timespec { tv_sec: period.as_secs() as libc::time_t, tv_nsec: period.subsec_nanos() as libc::c_long };
        let spec = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: both live through the call.
        if unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &spec, std::ptr::null_mut()) } != 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is owned by what is registered, hence open until that is dropped.
        Ok(Self(unsafe { AsyncFd::register(timer) }?))
    }

    /// Waits for the next beat; those missed are one.
    pub async fn tick(&mut self) {
        let Ok(mut ready) = self.0.readable().await else { return };
        let mut beats = 0u64;
        // SAFETY: the kernel writes eight bytes. A beat that was taken already fails with EAGAIN, which is as good.
        unsafe { libc::read(ready.get_inner().as_raw_fd(), (&raw mut beats).cast(), size_of::<u64>()) };
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_beats_in_time_and_missed_beats_are_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut ticker = Ticker::new(Duration::from_millis(50)).unwrap();
            let began = Instant::now();
            ticker.tick().await;
            ticker.tick().await;
            assert!(began.elapsed() >= Duration::from_millis(100));
            std::thread::sleep(Duration::from_millis(220));
            let late = Instant::now();
            ticker.tick().await;
            assert!(late.elapsed() < Duration::from_millis(40));
            ticker.tick().await;
            assert!(late.elapsed() >= Duration::from_millis(10), "{:?}", late.elapsed());
        });
    }
}
