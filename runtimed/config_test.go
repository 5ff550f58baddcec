package runtimed

import (
	"flag"
	"io"
	"reflect"
	"slices"
	"testing"
)

// TestConfig fills every field, and reads the command line back. Each flag has its field.
func TestConfig(t *testing.T) {
	t.Parallel()
	var full Config
	fields := reflect.ValueOf(&full).Elem()
	for i := range fields.NumField() {
		fields.Field(i).SetString("-" + fields.Type().Field(i).Name) // what looks like a flag is a value, too
	}
	full.LogLevel = "debug"
	got, err := parse(full.Args(), io.Discard)
	if err != nil || got != full {
		t.Errorf("read back: %+v, %v", got, err)
	}
	n := 0
	full.flags().VisitAll(func(*flag.Flag) { n++ })
	if n != fields.NumField() {
		t.Errorf("%d flags for %d fields", n, fields.NumField())
	}
	defaults, err := parse(Config{}.Args(), io.Discard)
	if err != nil || defaults.Root != "/run/engine-lite/runtimed" || defaults.LogLevel != "info" {
		t.Errorf("defaults: %+v, %v", defaults, err)
	}
	if args := (Config{Root: "/r", Trace: "/t"}).Args(); !slices.Equal(args, []string{"--root", "/r", "--trace", "/t"}) {
		t.Errorf("%q", args)
	}
	for _, args := range [][]string{{"--frobnicate"}, {"word"}, {"--log-level", "loud"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
		if code := Main("", args); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
