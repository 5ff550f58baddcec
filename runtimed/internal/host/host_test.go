package host

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/engine-lite/engine-lite/runtimed/internal/ociruntime"
)

func TestKernelWithoutSeccomp(t *testing.T) {
	spec := &specs.Spec{Linux: &specs.Linux{Seccomp: &specs.LinuxSeccomp{}}}
	h := Host{Features: ociruntime.NewFeatures("")}
	if err := h.RequireSpec(t.Context(), spec, ""); !errdefs.IsFailedPrecondition(err) ||
		!strings.Contains(err.Error(), "seccomp") {
		t.Errorf("with a profile: %v", err)
	}
	spec.Linux.Seccomp = nil
	if err := h.RequireSpec(t.Context(), spec, ""); err != nil {
		t.Errorf("without a profile: %v", err)
	}
	if !hasSeccomp() {
		t.Error("this kernel's seccomp was not found")
	}
}
