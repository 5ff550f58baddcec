package server

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"
	"unsafe"

	"github.com/engine-lite/engine-lite/internal/procfs"
	"github.com/engine-lite/engine-lite/keeper/internal/ledger"

	"golang.org/x/sys/unix"
)

// reaper waits for the children of the process. Nobody else does.
type reaper struct {
	log    *log.Logger
	ledger *ledger.Ledger
	ended  func(pid int, status uint32) // called when an exit is stored and the child is not reaped yet; must not block
	signal chan os.Signal
}

// newReaper makes this process the child subreaper (prctl(2)) of all its descendants. The caller calls run at once.
func newReaper(l *ledger.Ledger, logger *log.Logger, ended func(pid int, status uint32)) (*reaper, error) {
	r := &reaper{log: logger, ledger: l, ended: ended, signal: make(chan os.Signal, 1)}
	// The handler comes first. If our parent had SIGCHLD ignored, the kernel would reap, and the status would be lost.
	signal.Notify(r.signal, unix.SIGCHLD)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		signal.Stop(r.signal)
		return nil, fmt.Errorf("cannot become the child subreaper: %w", err)
	}
	return r, nil
}

// run reaps until stop is closed. Many exits may be one SIGCHLD, so after each signal it reaps all zombies. A
// signal that comes meanwhile waits in the channel.
func (r *reaper) run(stop <-chan struct{}) {
	defer signal.Stop(r.signal)
	for {
		for r.one() {
		}
		select {
		case <-r.signal:
		case <-stop:
			return
		}
	}
}

// one looks for a zombie, stores its exit, and reaps it after that. It returns false if there is no zombie.
func (r *reaper) one() bool {
	info, err := nextZombie()
	if err != nil || info.pid == 0 {
		return false // ECHILD, or none of the children has ended
	}
	pid, status := int(info.pid), info.waitStatus()
	start, err := procfs.StartTime(pid)
	if err != nil {
		r.log.Printf("cannot read the start time of process %d; its exit is stored without one: %v", pid, err)
	}
	r.ledger.Append(pid, start, status, time.Now())
	r.ended(pid, status)
	got, err := wait(pid)
	// ECHILD: syscall.ForkExec reaps its own child itself if the child could not exec.
	return got == pid || errors.Is(err, unix.ECHILD)
}

// nextZombie returns a child that has ended, and does not reap it. The pid is 0 if there is none.
func nextZombie() (childInfo, error) {
	for {
		var info childInfo
		const options = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT | unix.WALL
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)), options, nil)
		if !errors.Is(err, unix.EINTR) {
			return info, err
		}
	}
}

// wait reaps one zombie.
func wait(pid int) (int, error) {
	for {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
		if !errors.Is(err, unix.EINTR) {
			return got, err
		}
	}
}

// childInfo is the kernel's siginfo_t with the fields of SIGCHLD (waitid(2)).
type childInfo struct {
	signo, errno, code int32
	_                  [0]uintptr // the union that follows is aligned for pointers
	pid                int32
	uid                uint32
	status             int32
	_                  [128 - 28]byte // no less than the 128 bytes that the kernel may write
}

// The values of si_code (sigaction(2)).
const (
	childExited = 1
	childDumped = 3
)

// waitStatus returns the status as wait4(2) will return it.
func (c childInfo) waitStatus() uint32 {
	switch c.code {
	case childExited:
		return uint32(c.status&0xff) << 8
	case childDumped:
		return uint32(c.status&0x7f) | 0x80
	default:
		return uint32(c.status & 0x7f)
	}
}
