package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// workload is one measurement, for one or more rows.
type workload struct {
	rows   []string
	share  int // it runs in one of so many rounds
	daemon func(context.Context, *daemon, sizes) (figures, error)
	bare   func(context.Context, *bare, sizes) (figures, error) // nil where a bare runtime has no such thing
	files  bool                                                 // measured with --files only, or where a row is asked for
}

var workloads = []workload{
	{[]string{"run", "life"}, 1, runDaemon, runBare, false},
	{[]string{"start", "detached"}, 1, startDaemon, startBare, false},
	{[]string{"exec"}, 1, execDaemon, execBare, false},
	{[]string{"die", "wait", "exit"}, 1, endDaemon, nil, false},
	{[]string{"stdout"}, 4, stdoutDaemon, stdoutBare, false},
	{[]string{"logs"}, 4, logsDaemon, logsBare, false},
	{[]string{"stdin"}, 4, stdinDaemon, stdinBare, false},
	{[]string{"echo", besideLogged, besideNull}, 8, echoDaemon, echoBare, false},
	{[]string{"many", "remove", "many-detached"}, 8, manyDaemon, manyBare, false},
	{[]string{"mounts"}, 1, mountsDaemon, nil, true},
	{[]string{"cp-in-big", "cp-out-big", "commit-big", "copy-up-big", "cp-memory"}, 1, bigDaemon, nil, true},
	{[]string{"cp-in-small", "cp-out-small", "commit-small", "copy-up-small"}, 1, smallDaemon, nil, true},
	{[]string{"diff"}, 1, diffDaemon, nil, true},
}

// oneLimit bounds one measurement.
const oneLimit = 3 * time.Minute

// session is one run of the bench.
type session struct {
	*options
	*report
	*shared
	open   []target       // in the order of targetKinds
	failed map[string]int // how often, by target and row
}

// measure runs all workloads that were asked for. The report names what a target can't do,
// and the other targets go on. The error is about targets that must not fail, and about
// leftovers.
func measure(ctx context.Context, o *options) (*report, error) {
	s := &session{options: o, report: newReport(ctx, o), shared: &shared{}, failed: map[string]int{}}
	var err error
	for _, step := range []func(context.Context) error{s.prepare, s.measureMemoryOfAll, s.commits, s.rounds, s.growth,
		s.histories} {
		if err = step(ctx); err != nil {
			break
		}
	}
	s.report.finish(ctx)
	for _, n := range s.report.NotRun {
		if o.short && n.must {
			err = errors.Join(err, errors.New(n.String()))
		}
	}
	return s.report, firstError(err, context.Cause(ctx))
}

// prepare makes the root filesystem, and takes the spec for bare runtimes from an engine.
func (s *session) prepare(ctx context.Context) error {
	var err error
	if s.image, err = newRootfs(filepath.Join(s.dir, "rootfs")); err != nil {
		return err
	}
	p, err := s.place("template")
	if err != nil {
		return err
	}
	d := newEngineLite(s.options, p, "runc", "").(*daemon)
	if err = d.open(ctx); err == nil {
		s.template, err = takeTemplate(ctx, d)
	}
	return errors.Join(err, d.close(context.WithoutCancel(ctx)))
}

// place makes the directories of a target.
func (s *session) place(name string) (*place, error) {
	p := &place{target: name, disk: filepath.Join(s.dir, name), run: filepath.Join("/run/b", name), shared: s.shared}
	for _, dir := range []string{p.disk, p.run} {
		if err := firstError(os.RemoveAll(dir), os.MkdirAll(dir, 0o711)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// kinds are the targets that are to be measured.
func (s *session) kinds() []targetKind {
	var kinds []targetKind
	for _, k := range targetKinds {
		if s.wanted(k) && s.failed[k.name] == 0 {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// openTarget makes and opens a target. If it can't be opened, the report says so, and the
// result is nil.
func (s *session) openTarget(ctx context.Context, k targetKind) target {
	p, err := s.place(k.name)
	if err != nil {
		s.fail(k.name, "", err)
		return nil
	}
	t := k.make(s.options, p)
	if err := t.open(ctx); err != nil {
		s.fail(k.name, "", errors.Join(err, t.close(context.WithoutCancel(ctx))))
		return nil
	}
	return t
}

// failures is the number of failures of a row after which a target is not asked again.
// Without a row, one failure is enough.
const failures = 3

// fail records that a target failed to do a row or, with an empty row, anything.
func (s *session) fail(target, row string, err error) {
	s.failed[target+row]++
	progress("cannot run %s, %s: %v", target, row, err)
	for i, n := range s.report.NotRun {
		if n.Target == target && n.Row == row {
			s.report.NotRun[i].Times++
			return
		}
	}
	must := slices.ContainsFunc(targetKinds, func(k targetKind) bool { return k.name == target && k.must })
	s.report.NotRun = append(s.report.NotRun, notRun{Target: target, Row: row, Why: err.Error(), Times: 1, must: must})
}

var begun = time.Now()

// progress prints what is being done, and how long the run has taken so far.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %6s "+format+"\n", append([]any{time.Since(begun).Round(time.Second)}, args...)...)
}

// rounds opens all targets, and runs all workloads on each in turn.
func (s *session) rounds(ctx context.Context) (err error) {
	if !s.anyWorkload() {
		return nil
	}
	defer func() {
		for _, t := range s.open {
			err = errors.Join(err, t.close(context.WithoutCancel(ctx)))
		}
	}()
	for _, k := range s.kinds() {
		if t := s.openTarget(ctx, k); t != nil {
			s.open = append(s.open, t)
			s.noteVersion(ctx, t)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	for round := range s.options.rounds + 1 { // the first one warms up and doesn't count
		progress("round %d of %d", round, s.options.rounds)
		for _, w := range workloads {
			if round == 0 && w.share > 4 || round > 0 && (round-1)%w.share != 0 || !s.asked(w) {
				continue
			}
			for i := range s.open {
				if err := context.Cause(ctx); err != nil {
					return err
				}
				s.once(ctx, w, s.open[(i+round)%len(s.open)], round)
			}
		}
	}
	return nil
}

func (s *session) anyWorkload() bool {
	for _, w := range workloads {
		if s.asked(w) {
			return true
		}
	}
	return false
}

func (s *session) asked(w workload) bool {
	if w.files && len(s.options.rows) == 0 {
		return false
	}
	for _, name := range w.rows {
		if chosen(s.options.rows, name) {
			return true
		}
	}
	return false
}

// once runs a workload on a target.
func (s *session) once(ctx context.Context, w workload, t target, round int) {
	if s.failed[t.name()+w.rows[0]] == failures {
		return
	}
	run := ctx
	ctx, cancel := context.WithTimeoutCause(run, oneLimit, fmt.Errorf("not done after %s", oneLimit))
	defer cancel()
	var f figures
	var err error
	switch t := t.(type) {
	case *daemon:
		f, err = w.daemon(ctx, t, s.sizes)
	case *bare:
		if w.bare == nil {
			return
		}
		f, err = w.bare(ctx, t, s.sizes)
	}
	switch {
	case run.Err() != nil: // the run ends, and says why
	case err != nil:
		s.fail(t.name(), w.rows[0], errors.Join(err, context.Cause(ctx)))
	case round > 0:
		s.report.add(t.name(), t.runtime(), round, f)
	}
}

func (s *session) noteVersion(ctx context.Context, t target) {
	v, err := t.version(ctx)
	if err != nil {
		v = err.Error()
	}
	s.report.Versions[t.name()] = v
}
