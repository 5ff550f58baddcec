package ociruntime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features remembers which OCI runtimes were built without seccomp. Each is asked once.
type Features struct {
	tmp string // a directory as the runtimes' state, for crun would make one of its own

	mu    sync.Mutex
	known map[string]bool // by path; true if it lacks seccomp
}

func NewFeatures(tmp string) *Features {
	return &Features{tmp: tmp, known: make(map[string]bool)}
}

// LacksSeccomp tells whether a runtime is known to have no seccomp. One that doesn't say is trusted: it refuses a
// profile by itself, or confines in another way.
func (s *Features) LacksSeccomp(ctx context.Context, path string) bool {
	s.mu.Lock()
	lacks, known := s.known[path]
	s.mu.Unlock()
	if known {
		return lacks
	}
	lacks = s.ask(ctx, path)
	if ctx.Err() != nil {
		return false // not answered, so ask again; the create ends anyway
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[path] = lacks
	return lacks
}

// ask asks a runtime what it was built with: by "features" (the OCI runtime specification, features.md), else by its
// version's text, as of crun before 1.8.6.
func (s *Features) ask(ctx context.Context, path string) (lacks bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if out, err := s.answer(ctx, path, "features"); err == nil {
		if lacks, known := parseFeatures(out); known {
			return lacks
		}
	}
	out, err := s.answer(ctx, path, "--version")
	return err == nil && parseVersion(string(out))
}

// answer runs a runtime for its stdout.
func (s *Features) answer(ctx context.Context, path, question string) ([]byte, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "--root", s.tmp, question)
	cmd.Stdout, cmd.Stderr = &out, io.Discard
	exits, err := runc.Monitor.Start(cmd)
	if err != nil {
		return nil, err
	}
	status, err := runc.Monitor.Wait(cmd, exits)
	if err == nil && status != 0 {
		err = &runc.ExitError{Status: status}
	}
	return out.Bytes(), err
}

// parseFeatures finds linux.seccomp.enabled; known is false where the runtime does not say.
func parseFeatures(data []byte) (lacks, known bool) {
	var f features.Features
	if json.Unmarshal(data, &f) != nil || f.Linux == nil || f.Linux.Seccomp == nil || f.Linux.Seccomp.Enabled == nil {
		return false, false
	}
	return !*f.Linux.Seccomp.Enabled, true
}

// parseVersion tells whether the text of --version is that of a crun without seccomp: it lists what it was built with
// as "+NAME".
func parseVersion(text string) (lacks bool) {
	return strings.HasPrefix(text, "crun ") && !slices.Contains(strings.Fields(text), "+SECCOMP")
}

// RequireCRIU refuses an OCI runtime that says it was built without CRIU, as crun may be. NotImplemented.
func (s *Features) RequireCRIU(ctx context.Context, path string) error {
	out, err := s.answer(ctx, path, "--version")
	if err != nil {
		return fmt.Errorf("cannot ask OCI runtime %s for its version: %v: %w", path, err, errdefs.ErrFailedPrecondition)
	}
	if lacksCRIU(string(out)) {
		return fmt.Errorf("OCI runtime %s was built without CRIU: %w", path, errdefs.ErrNotImplemented)
	}
	return nil
}

// lacksCRIU reads crun's list of features, words that begin with "+". Other runtimes have none.
func lacksCRIU(version string) bool {
	var features, criu bool
	for word := range strings.FieldsSeq(version) {
		features = features || strings.HasPrefix(word, "+")
		criu = criu || word == "+CRIU"
	}
	return features && !criu
}
