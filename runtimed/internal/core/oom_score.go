package core

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// writeOOMScore gives a new process the OOM score adjustment of its spec (proc_pid_oom_score_adj(5)). crun 1.8 passes
// over 0, and the process would have runtimed's. An init process has the right one before its program runs. An exec's
// program runs already: what it has begun by then keeps runtimed's.
func (p *Process) writeOOMScore(pid int) error {
	score := p.task.oomScore
	if p.exec != "" {
		score = p.record.Spec.OOMScoreAdj
	}
	if score == nil || filepath.Base(p.task.record.Runtime.Path) != "crun" {
		return nil
	}
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	has, err := os.ReadFile(path)
	if want := strconv.Itoa(*score); err == nil && strings.TrimSpace(string(has)) != want {
		err = os.WriteFile(path, []byte(want), 0)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil // the process has ended
	}
	return err
}
