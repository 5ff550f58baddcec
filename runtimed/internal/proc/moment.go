package proc

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/keeper"
)

// ticksPerSecond are the units of start times: USER_HZ, the same on all that Go runs on (proc(5), /proc/PID/stat).
const ticksPerSecond = 100

// Moment is a point in time, on the clock of exits and in the unit of start times.
type Moment struct {
	wall  time.Time
	Ticks uint64
}

// After tells whether a process began, or ended, before the moment. Its start counts where it is known: the clock of
// exits may have been set back.
func (m Moment) After(e keeper.Exit) bool {
	if e.StartTime != 0 {
		return e.StartTime < m.Ticks
	}
	return e.Time.Before(m.wall)
}

func Now() Moment {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		boot = unix.Timespec{} // it can't fail with a clock that exists; every process is younger than 0
	}
	return Moment{wall: time.Now(), Ticks: uint64(boot.Nano()) / (uint64(time.Second) / ticksPerSecond)}
}
