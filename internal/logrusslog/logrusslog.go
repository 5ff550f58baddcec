// Package logrusslog has a slog.Handler that writes to logrus, for a program whose log is logrus', and that uses
// packages that log with slog.
package logrusslog

import (
	"context"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// New returns a logger whose messages are log's. Attributes become fields; those of a group have the group's name and a
// dot before their own. An attribute of the key "error" becomes logrus' field of an error.
func New(log *logrus.Entry) *slog.Logger { return slog.New(&handler{log: log}) }

type handler struct {
	log    *logrus.Entry
	prefix string // the open groups, each with a dot
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return h.log.Logger.IsLevelEnabled(level(l))
}

// level is the nearest level of logrus that ends no process.
func level(l slog.Level) logrus.Level {
	switch {
	case l >= slog.LevelError:
		return logrus.ErrorLevel
	case l >= slog.LevelWarn:
		return logrus.WarnLevel
	case l >= slog.LevelInfo:
		return logrus.InfoLevel
	}
	return logrus.DebugLevel
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	fields := logrus.Fields{}
	r.Attrs(func(a slog.Attr) bool {
		add(fields, h.prefix, a)
		return true
	})
	entry := h.log.WithFields(fields)
	if !r.Time.IsZero() {
		entry.Time = r.Time
	}
	entry.Log(level(r.Level), r.Message)
	return nil
}

// add adds an attribute, or those of a group, to fields.
func add(fields logrus.Fields, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			add(fields, prefix, member)
		}
	case a.Key != "":
		fields[prefix+a.Key] = v.Any()
	}
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := logrus.Fields{}
	for _, a := range attrs {
		add(fields, h.prefix, a)
	}
	return &handler{log: h.log.WithFields(fields), prefix: h.prefix}
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{log: h.log, prefix: h.prefix + name + "."}
}
