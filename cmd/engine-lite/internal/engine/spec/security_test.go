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
		{false, []string{"seccomp=unconfined", "label=disable", "apparmor:unconfined"},
			security{seccomp: noProfile, apparmor: noProfile}},
		{false, []string{"label=type:x", "apparmor=mine"}, security{label: "label=type:x", apparmor: "mine"}},
		{false, []string{"seccomp:unconfined"}, security{seccomp: noProfile}},
		{true, []string{"seccomp=builtin"}, security{writableGroups: true}},
		{false, []string{`seccomp={"a":"b=c"}`}, security{seccomp: `{"a":"b=c"}`}},
	} {
		got, err := parseSecurity(&record.HostConfig{Privileged: c.privileged, SecurityOpt: c.opts})
		if err != nil || got != c.want {
			t.Errorf("%v %q: %+v, %v, want %+v", c.privileged, c.opts, got, err, c.want)
		}
	}
	s := security{label: "label=type:x", apparmor: "mine"}
	for _, c := range []struct {
		appArmor, seLinux, unconfined bool
		want                          int
	}{
		{false, false, false, 2}, {true, false, false, 1}, {false, true, false, 1}, {false, false, true, 1},
	} {
		if c.unconfined {
			s.apparmor = noProfile
		}
		if got := s.withoutEffect(c.appArmor, c.seLinux); len(got) != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	for opt, is := range map[string]func(error) bool{
		"nope": errdefs.IsInvalidArgument, "nope=1": errdefs.IsInvalidArgument, "writable-cgroups=1": errdefs.IsInvalidArgument,
		"no-new-privileges=maybe": errdefs.IsInvalidArgument,
	} {
		if _, err := parseSecurity(&record.HostConfig{SecurityOpt: []string{opt}}); !is(err) {
			t.Errorf("%q: %v", opt, err)
		}
	}
}
