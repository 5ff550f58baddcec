package request

import (
	"slices"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
)

// TestLabelsDisabled has inspect show that containers which share much with the host have no SELinux labels, as dockerd
// does, unless the user has said something about labels.
func TestLabelsDisabled(t *testing.T) {
	for _, c := range []struct {
		h    container.HostConfig
		want []string
	}{
		{container.HostConfig{}, nil},
		{container.HostConfig{Privileged: true}, []string{"label=disable"}},
		{container.HostConfig{PidMode: "host", SecurityOpt: []string{"no-new-privileges"}},
			[]string{"no-new-privileges", "label=disable"}},
		{container.HostConfig{IpcMode: "host", SecurityOpt: []string{"label=level:s0"}}, []string{"label=level:s0"}},
	} {
		req := container.CreateRequest{Config: &container.Config{Cmd: []string{"true"}}, HostConfig: &c.h}
		_, h, err := Create(req, dockerspec.DockerOCIImageConfig{}, "name", Host{})
		if err != nil || !slices.Equal(h.SecurityOpt, c.want) {
			t.Errorf("%+v: %q, %v, want %q", c.h, h.SecurityOpt, err, c.want)
		}
	}
}
