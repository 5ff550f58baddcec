package remote

import (
	"maps"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"

	"github.com/engine-lite/engine-lite/libcontainerd"
)

func TestLabels(t *testing.T) {
	user := map[string]string{"a": "b"}
	for _, tt := range []struct {
		name       string
		containerd bool
		record     libcontainerd.Record
		want       map[string]string
		refused    func(error) bool
	}{
		{name: "none"},
		{name: "the user's own", record: libcontainerd.Record{Labels: user}, want: user},
		{name: "arguments and no clean", record: libcontainerd.Record{Labels: user,
			RuntimeArgs: []string{"--debug", `a "b"`}, NoClean: true},
			want: map[string]string{"a": "b", labelRuntimeArgs: `["--debug","a \"b\""]`, labelNoClean: "1"}},
		{name: "without labels", record: libcontainerd.Record{NoClean: true},
			want: map[string]string{labelNoClean: "1"}},
		{name: "reserved", record: libcontainerd.Record{Labels: map[string]string{labelRuntimeArgs: `["--root=/"]`}},
			refused: errdefs.IsInvalidArgument},
		{name: "not UTF-8", record: libcontainerd.Record{RuntimeArgs: []string{"\xff"}},
			refused: errdefs.IsInvalidArgument},
		{name: "containerd, no clean", containerd: true, record: libcontainerd.Record{Labels: user, NoClean: true},
			want: user},
		{name: "containerd, arguments", containerd: true,
			record:  libcontainerd.Record{RuntimeArgs: []string{"--debug"}},
			refused: errdefs.IsNotImplemented},
	} {
		d := &Daemon{}
		d.isRuntimed.Store(!tt.containerd)
		got, err := d.labels(tt.record)
		if (tt.refused == nil) != (err == nil) || (tt.refused != nil && !tt.refused(err)) || !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
	if len(user) != 1 {
		t.Errorf("the caller's labels are %v now", user)
	}
}

func TestTaskOptions(t *testing.T) {
	encoded := func(v any) *libcontainerd.RuntimeOptions {
		o, err := EncodeOptions(v)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	kata := encoded(&runtimeoptions.Options{ConfigPath: "/etc/kata.toml"})
	own := encoded(&options.Options{ShimCgroup: "/shims", BinaryName: "first"})
	for _, tt := range []struct {
		name    string
		config  libcontainerd.TaskConfig
		want    *options.Options
		refused func(error) bool
	}{
		{name: "none"},
		{name: "every field of runc's", config: libcontainerd.TaskConfig{Runtime: "io.containerd.runc.v2",
			RuntimePath: "/usr/bin/crun",
			NoPivotRoot: true, SystemdCgroup: true, IoUID: 3, IoGID: 4, Checkpoint: "/c"},
			want: &options.Options{BinaryName: "/usr/bin/crun", NoPivotRoot: true, SystemdCgroup: true, IoUid: 3,
				IoGid:         4,
				CriuImagePath: "/c"}},
		{name: "merged", config: libcontainerd.TaskConfig{RuntimeOptions: encoded(&options.Options{ShimCgroup: "/shims"}),
			NoPivotRoot: true},
			want: &options.Options{ShimCgroup: "/shims", NoPivotRoot: true}},
		{name: "two that have priority", config: libcontainerd.TaskConfig{RuntimeOptions: own, RuntimePath: "second"},
			want: &options.Options{ShimCgroup: "/shims", BinaryName: "second"}},
		{name: "of another runtime", config: libcontainerd.TaskConfig{RuntimeOptions: kata},
			refused: errdefs.IsInvalidArgument},
		{name: "another runtime",
			config: libcontainerd.TaskConfig{Runtime: "io.containerd.kata.v2", RuntimeOptions: kata,
				NoPivotRoot: true, IoUID: 3}},
		{name: "another runtime, path", config: libcontainerd.TaskConfig{Runtime: "io.containerd.kata.v2",
			RuntimePath: "/x"}, refused: errdefs.IsInvalidArgument},
		{name: "another runtime, systemd", config: libcontainerd.TaskConfig{Runtime: "io.containerd.kata.v2",
			SystemdCgroup: true}, refused: errdefs.IsInvalidArgument},
		{name: "another runtime, checkpoint", config: libcontainerd.TaskConfig{Runtime: "io.containerd.kata.v2",
			Checkpoint: "/c"}, refused: errdefs.IsNotImplemented},
	} {
		a, err := taskOptions(tt.config)
		switch {
		case tt.refused != nil:
			if err == nil || !tt.refused(err) {
				t.Errorf("%s: error %v", tt.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == nil:
			if a != nil {
				t.Errorf("%s: %v", tt.name, a)
			}
		default:
			var got options.Options
			if err := typeurl.UnmarshalTo(a, &got); err != nil || !proto.Equal(&got, tt.want) {
				t.Errorf("%s: %v, %v", tt.name, &got, err)
			}
		}
	}
}

func TestEncodeOptions(t *testing.T) {
	for name, v := range map[string]any{
		"nothing": nil, "no pointer": struct{ X int }{1}, "not registered": &struct{ X int }{1},
	} {
		if o, err := EncodeOptions(v); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v, %v", name, o, err)
		}
	}
}
