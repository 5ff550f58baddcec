package spec

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func TestParseSecurity(t *testing.T) {
	for _, c := range []struct {
		privileged bool
		opts       []string
		want       security
	}{
		{false, nil, security{}},
		{true, nil, security{writableGroups: true, seccomp: noProfile}},
		{false, []string{"no-new-privileges"}, security{noNewPrivileges: true}},
		{false, []string{"no-new-privileges:true"}, security{noNewPrivileges: true}},
		{false, []string{"no-new-privileges=true", "no-new-privileges=false"}, security{}},
		{false, []string{"writable-cgroups"}, security{writableGroups: true}},
		{true, []string{"writable-cgroups=false"}, security{seccomp: noProfile}},
		{false, []string{"seccomp=unconfined", "label=disable", "apparmor:unconfined"}, security{seccomp: noProfile}},
		{false, []string{"seccomp:unconfined"}, security{seccomp: noProfile}},
		{true, []string{"seccomp=builtin"}, security{writableGroups: true}},
		{false, []string{`seccomp={"a":"b=c"}`}, security{seccomp: `{"a":"b=c"}`}},
	} {
		got, err := parseSecurity(&record.HostConfig{Privileged: c.privileged, SecurityOpt: c.opts})
		if err != nil || got != c.want {
			t.Errorf("%v %q: %+v, %v, want %+v", c.privileged, c.opts, got, err, c.want)
		}
	}
	for opt, is := range map[string]func(error) bool{
		"nope": errdefs.IsInvalidArgument, "nope=1": errdefs.IsInvalidArgument, "writable-cgroups=1": errdefs.IsInvalidArgument,
		"no-new-privileges=maybe": errdefs.IsInvalidArgument, "label=type:x": errdefs.IsNotImplemented,
		"apparmor=x": errdefs.IsNotImplemented,
	} {
		if _, err := parseSecurity(&record.HostConfig{SecurityOpt: []string{opt}}); !is(err) {
			t.Errorf("%q: %v", opt, err)
		}
	}
}
