package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/engine-lite/engine-lite/tests/peer"
)

// A result is how a test ended.
type result string

// A test that neither passed nor was skipped has failed, also one that never ended.
const (
	pass result = "pass"
	fail result = "fail"
	skip result = "skip"
)

// testLimit is how long one test may take. A test that waits for what never happens must not
// take the others with it.
const testLimit = 45 * time.Second

// runSuite runs a suite on an engine, in a process with namespaces of its own: network,
// processes and mounts. All that the suite started ends with them.
func runSuite(ctx context.Context, o *options, engine, suite, pattern string) (map[string]result, error) {
	verbose := ""
	if o.verbose {
		verbose = "v"
	}
	data, err := peer.Again(ctx, o.work, filepath.Join(o.dir, engine+"-"+suite), engine, suite, pattern, verbose)
	if err != nil {
		return nil, err
	}
	results := map[string]result{}
	return results, json.Unmarshal(data, &results)
}

// sources is where a suite's code and its files are: go test runs a test there.
func sources(work, suite string) (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/v2")
	cmd.Dir = filepath.Join(work, "tools/peer-suites")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot find moby's module: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "integration", suite), nil
}

// A suiteRun runs the tests of one suite on one daemon.
type suiteRun struct {
	binary, sources string
	tmp             string // for temporary files, which some tests leave there
	daemon          *peer.Daemon
	verbose         bool
	said            strings.Builder // what went wrong
	results         map[string]result
}

// runAll runs all tests whose names match. A run that ends early, by a panic or since a test
// never ended, is followed by another one with the rest.
func (s *suiteRun) runAll(ctx context.Context, pattern string) error {
	if pattern == "" {
		pattern = "."
	}
	out, err := s.command(ctx, "-test.list", pattern).Output()
	if err != nil {
		return fmt.Errorf("cannot list the tests: %w: %s", err, out)
	}
	var left []string
	for _, line := range strings.Split(string(out), "\n") {
		if strings.HasPrefix(line, "Test") {
			left = append(left, line)
		}
	}
	for len(left) > 0 {
		last, err := s.runThese(ctx, left)
		if err != nil {
			return err
		}
		var next []string
		for _, name := range left {
			if _, done := s.results[name]; !done && name != last {
				next = append(next, name)
			}
		}
		if last != "" {
			s.results[last] = fail
		}
		if len(next) == len(left) {
			return errors.New("the suite ended before its first test")
		}
		left = next
	}
	return nil
}

func (s *suiteRun) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Dir = s.sources
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+s.daemon.Socket, "TMPDIR="+s.tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

var outcome = regexp.MustCompile(`^\x16*--- (PASS|FAIL|SKIP): (Test[^ /]*) `)

// runThese runs tests in one process until all have ended, or one takes too long. It returns
// the name of the test that ran when the process ended; empty if all have ended.
func (s *suiteRun) runThese(ctx context.Context, names []string) (last string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := s.command(ctx, "-test.v=test2json", "-test.run", "^("+strings.Join(names, "|")+")$")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = time.Second // for what a test left with its standard output
	if err := cmd.Start(); err != nil {
		return "", err
	}
	watch := time.AfterFunc(2*testLimit, cancel) // the first one loads images
	defer watch.Stop()
	last = s.read(out, func() { watch.Reset(testLimit) })
	cancel()
	_ = cmd.Wait() // the results say more
	return last, nil
}

// read takes the results from a suite's output. It calls next at each change of the test.
func (s *suiteRun) read(out io.Reader, next func()) (last string) {
	var text strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		text.WriteString(strings.ReplaceAll(line, "\x16", "") + "\n")
		name, starts := strings.CutPrefix(strings.TrimLeft(line, "\x16"), "=== RUN   ")
		if starts && !strings.Contains(name, "/") {
			last = name
			next()
		}
		if m := outcome.FindStringSubmatch(line); m != nil {
			s.results[m[2]] = map[string]result{"PASS": pass, "FAIL": fail, "SKIP": skip}[m[1]]
			if s.verbose && m[1] != "PASS" {
				fmt.Fprint(&s.said, text.String())
			}
			text.Reset()
			if last == m[2] {
				last = ""
			}
			next()
		}
	}
	if last != "" {
		fmt.Fprintf(&s.said, "%s: no end\n", last)
		if s.verbose {
			fmt.Fprint(&s.said, text.String())
		}
	}
	return last
}
