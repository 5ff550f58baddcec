package record

import "time"

// The delays between an exit and the restart that follows by policy: twice as
// long each time, from the first again after a run of steadyRun.
const (
	FirstRestartDelay   = 100 * time.Millisecond
	LongestRestartDelay = time.Minute
	SteadyRun           = 10 * time.Second
)

// restartsByPolicy tells whether a container that has just ended is to be
// started again.
func (r *Record) restartsByPolicy() bool {
	policy := r.HostConfig.RestartPolicy
	if r.Stopped {
		return false
	}
	switch policy.Name {
	case RestartAlways, RestartUnlessStopped:
		return true
	case RestartOnFailure:
		return r.ShownExitCode() != 0 && (policy.MaximumRetryCount == 0 || r.RestartCount < policy.MaximumRetryCount)
	case RestartNever:
	}
	return false
}

// PlanRestart makes a container that has ended after a run of this length wait
// for its restart, where its policy says so. The deadline is part of the exit's
// transaction, so that the next engine keeps it.
func (r *Record) PlanRestart(ran time.Duration, now time.Time) {
	if !r.restartsByPolicy() {
		return
	}
	if r.RestartDelay = min(2*r.RestartDelay, LongestRestartDelay); r.RestartDelay == 0 || ran >= SteadyRun {
		r.RestartDelay = FirstRestartDelay
	}
	r.RestartCount++
	r.Status, r.RestartAt = StatusRestarting, now.Add(r.RestartDelay).UTC()
}

// MayRestart tells whether the container has a restart policy that a user's stop has to end. One whose record cannot be
// read may have one.
func (r *Record) MayRestart() bool {
	return r.unreadable != nil || !r.HostConfig.RestartPolicy.IsNone()
}

// EndRestarts writes into the record that a user ends this run, and when the
// container is to be started again, in place of what its policy says; zero is not at
// all.
func (r *Record) EndRestarts(again time.Time) {
	if r.Status == StatusRestarting {
		r.Status = StatusExited
	}
	r.Stopped = r.Stopped || r.MayRestart()
	r.RestartAt = again.UTC()
}
