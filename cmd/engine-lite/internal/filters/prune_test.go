package filters

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestBool(t *testing.T) {
	for _, c := range []struct {
		values     []string
		want, fail bool
	}{
		{values: []string{"true"}, want: true}, {values: []string{"1"}, want: true},
		{values: []string{"false"}}, {values: []string{"0"}}, {values: []string{"1", "true"}, want: true},
		{values: []string{"x"}, fail: true}, {values: []string{"true", "0"}, fail: true}, {values: []string{}, fail: true},
	} {
		got, err := Filters{"b": c.values}.Bool("b", false)
		if got != c.want || errdefs.IsInvalidArgument(err) != c.fail {
			t.Errorf("%q: %v, %v", c.values, got, err)
		}
	}
	if got, err := (Filters{}).Bool("b", true); !got || err != nil {
		t.Errorf("no filter: %v, %v", got, err)
	}
}

func TestUntil(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for value, want := range map[string]time.Time{
		"1h": now.Add(-time.Hour), "1600000000": time.Unix(1600000000, 0), "0": time.Unix(0, 0),
		"0001-01-01T00:00:00Z": time.Unix(0, 0),
		"2023-11-14T22:00:00Z": time.Date(2023, 11, 14, 22, 0, 0, 0, time.UTC),
	} {
		got, err := Filters{"until": {value}}.Until(now)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", value, got, err)
		}
	}
	for _, values := range [][]string{{}, {""}, {"soon"}, {"1h", "2h"}} {
		if got, err := (Filters{"until": values}).Until(now); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v, %v", values, got, err)
		}
	}
	if got, err := (Filters{}).Until(now); err != nil || !got.IsZero() {
		t.Errorf("no filter: %v, %v", got, err)
	}
}

// FuzzUntil checks that no value of the filter reads as if there were no filter: everything would be pruned.
func FuzzUntil(f *testing.F) {
	for _, seed := range []string{"", "0", "1h", "-1h", "0.0", "1700000000.5", "0001-01-01", "2023-11-14T22:13"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		until, err := Filters{"until": {value}}.Until(time.Unix(1700000000, 0))
		if err == nil && until.IsZero() {
			t.Errorf("%q is no bound", value)
		}
		if err != nil && !errdefs.IsInvalidArgument(err) {
			t.Error(err)
		}
	})
}

func TestLabelled(t *testing.T) {
	labels := map[string]string{"a": "1", "b": "2"}
	for _, c := range []struct {
		f    Filters
		want bool
	}{
		{Filters{}, true},
		{Filters{"label": {"a", "b=2"}}, true},
		{Filters{"label": {"a", "b=3"}}, false},
		{Filters{"label!": {"c", "a=2"}}, true},
		{Filters{"label!": {"c", "a"}}, false},
		{Filters{"label": {"a"}, "label!": {"b"}}, false},
	} {
		if got := c.f.Labelled(labels); got != c.want {
			t.Errorf("%v: %v", c.f, got)
		}
	}
}
