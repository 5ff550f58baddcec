package images

import (
	"reflect"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

func TestChangeHealthcheck(t *testing.T) {
	for change, want := range map[string]*dockerspec.HealthcheckConfig{
		"HEALTHCHECK NONE":                 {Test: []string{"NONE"}},
		"healthcheck none":                 {Test: []string{"NONE"}},
		"HEALTHCHECK CMD curl -f http://x": {Test: []string{"CMD-SHELL", "curl -f http://x"}},
		`HEALTHCHECK CMD ["a", "b c"]`:     {Test: []string{"CMD", "a", "b c"}},
		"HEALTHCHECK --interval=1m --timeout=2s  --start-period=3s --start-interval=4ms --retries=5 CMD x": {
			Test: []string{"CMD-SHELL", "x"}, Interval: time.Minute, Timeout: 2 * time.Second, StartPeriod: 3 * time.Second,
			StartInterval: 4 * time.Millisecond, Retries: 5,
		},
		"HEALTHCHECK --interval=0s CMD x":  {Test: []string{"CMD-SHELL", "x"}},
		"HEALTHCHECK":                      nil,
		"HEALTHCHECK CMD":                  nil,
		"HEALTHCHECK CMD []":               nil,
		"HEALTHCHECK NONE x":               nil,
		"HEALTHCHECK curl":                 nil,
		"HEALTHCHECK --interval=3 CMD x":   nil,
		"HEALTHCHECK --interval=1us CMD x": nil,
		"HEALTHCHECK --retries=-1 CMD x":   nil,
		"HEALTHCHECK --nonsense=1 CMD x":   nil,
		"HEALTHCHECK --interval=1s":        nil,
	} {
		var c dockerspec.DockerOCIImageConfig
		err := applyChanges(&c, []string{change})
		switch {
		case want == nil && !errdefs.IsInvalidArgument(err):
			t.Errorf("%s: %v", change, err)
		case want != nil && (err != nil || !reflect.DeepEqual(c.Healthcheck, want)):
			t.Errorf("%s: %+v, %v", change, c.Healthcheck, err)
		}
	}
}
