package logrusslog

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/sirupsen/logrus"
)

func TestMessages(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
	l := New(log.WithField("from", "test"))
	l.Debug("not shown")
	l.With("container", "c").Warn("cannot do it", "error", errors.New("why"))
	l.WithGroup("a").With(slog.Group("b", "c", 1)).Error("grouped", "d", 2*time.Second)
	want := "level=warning msg=\"cannot do it\" container=c error=why from=test\n" +
		"level=error msg=grouped a.b.c=1 a.d=2s from=test\n"
	if out.String() != want {
		t.Errorf("log:\n%s", out.String())
	}
}

// TestHandler has the tests of the standard library for handlers.
func TestHandler(t *testing.T) {
	var seen *capture
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		log := logrus.New()
		seen = &capture{timeless: t.Name() == "TestHandler/zero-time"} // logrus gives every message a time
		log.AddHook(seen)
		log.SetOutput(&bytes.Buffer{})
		return New(logrus.NewEntry(log)).Handler()
	}, func(*testing.T) map[string]any { return seen.tree })
}

// capture is a hook that keeps the last message in the form that slogtest wants: groups are maps.
type capture struct {
	tree     map[string]any
	timeless bool
}

func (c *capture) Levels() []logrus.Level { return logrus.AllLevels }

func (c *capture) Fire(e *logrus.Entry) error {
	c.tree = map[string]any{slog.LevelKey: e.Level, slog.MessageKey: e.Message}
	if !c.timeless && !e.Time.IsZero() {
		c.tree[slog.TimeKey] = e.Time
	}
	for name, value := range e.Data {
		at := c.tree
		for {
			group, after, ok := bytes.Cut([]byte(name), []byte("."))
			if !ok {
				break
			}
			if at[string(group)] == nil {
				at[string(group)] = map[string]any{}
			}
			at, name = at[string(group)].(map[string]any), string(after)
		}
		at[name] = value
	}
	return nil
}
