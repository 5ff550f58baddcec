package proc

import (
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/keeper"
)

func TestMoment(t *testing.T) {
	m := Moment{wall: time.Now(), Ticks: 100}
	for want, exits := range map[bool][]keeper.Exit{
		true:  {{StartTime: 99, Time: m.wall.Add(time.Hour)}, {Time: m.wall.Add(-time.Second)}},
		false: {{StartTime: 100, Time: m.wall.Add(-time.Hour)}, {Time: m.wall.Add(time.Second)}},
	} {
		for _, e := range exits {
			if m.After(e) != want {
				t.Errorf("%+v: %v", e, !want)
			}
		}
	}
}
