package images

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// changeHealthcheck reads "NONE", or options and then "CMD" with its two forms.
func changeHealthcheck(c *dockerspec.DockerOCIImageConfig, args string) error {
	var h dockerspec.HealthcheckConfig
	for strings.HasPrefix(args, "--") {
		option, rest, _ := strings.Cut(args, " ")
		name, value, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		if err := setHealthcheckOption(&h, name, value); err != nil {
			return err
		}
		args = strings.TrimSpace(rest)
	}
	word, rest, _ := strings.Cut(args, " ")
	rest = strings.TrimSpace(rest)
	switch word = strings.ToUpper(word); {
	case word == "NONE" && rest == "":
		h = dockerspec.HealthcheckConfig{Test: []string{"NONE"}}
	case word != "CMD" || rest == "":
		return fmt.Errorf("NONE or CMD with a command is expected")
	default:
		h.Test = []string{"CMD-SHELL", rest}
		if words, ok := jsonStrings(rest); ok {
			h.Test = slices.Concat([]string{"CMD"}, words)
		}
		if len(h.Test) == 1 {
			return fmt.Errorf("CMD has no command")
		}
	}
	c.Healthcheck = &h
	return nil
}

func setHealthcheckOption(h *dockerspec.HealthcheckConfig, name, value string) error {
	times := map[string]*time.Duration{
		"interval": &h.Interval, "timeout": &h.Timeout, "start-period": &h.StartPeriod, "start-interval": &h.StartInterval,
	}
	if name == "retries" {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("--retries has to be a number, not %q", value)
		}
		h.Retries = n
		return nil
	}
	d := times[name]
	if d == nil {
		return fmt.Errorf("there is no option --%s", name)
	}
	var err error
	if *d, err = time.ParseDuration(value); err != nil || *d != 0 && *d < time.Millisecond {
		return fmt.Errorf("--%s has to be a time of 1ms or more, not %q", name, value)
	}
	return nil
}
