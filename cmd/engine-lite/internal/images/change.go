package images

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// maxPort is the highest port number there is.
const maxPort = 65535

// changers are the Dockerfile instructions that change a configuration without
// building anything.
var changers = map[string]func(*dockerspec.DockerOCIImageConfig, string) error{
	"CMD":         changeCmd,
	"ENTRYPOINT":  changeEntrypoint,
	"ENV":         changeEnv,
	"EXPOSE":      changeExpose,
	"HEALTHCHECK": changeHealthcheck,
	"LABEL":       changeLabel,
	"STOPSIGNAL":  changeStopSignal,
	"USER":        changeUser,
	"VOLUME":      changeVolume,
	"WORKDIR":     changeWorkdir,
}

// applyChanges applies instructions in their order. One that is unknown or
// malformed is InvalidArgument.
func applyChanges(c *dockerspec.DockerOCIImageConfig, changes []string) error {
	for _, change := range changes {
		word, rest, _ := strings.Cut(strings.TrimSpace(change), " ")
		if word == "" {
			continue
		}
		apply := changers[strings.ToUpper(word)]
		if apply == nil {
			known := slices.Sorted(maps.Keys(changers))
			return fmt.Errorf("%q is not a valid change command, only %s are: %w", word, strings.Join(known, ", "), errdefs.ErrInvalidArgument)
		}
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return fmt.Errorf("%s requires an argument: %w", strings.ToUpper(word), errdefs.ErrInvalidArgument)
		}
		if err := apply(c, rest); err != nil {
			return fmt.Errorf("cannot apply change %q: %v: %w", change, err, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

func changeCmd(c *dockerspec.DockerOCIImageConfig, args string) error {
	c.Cmd = command(args)
	return nil
}

func changeEntrypoint(c *dockerspec.DockerOCIImageConfig, args string) error {
	c.Entrypoint = command(args)
	return nil
}

func changeUser(c *dockerspec.DockerOCIImageConfig, args string) error {
	words, err := splitWords(args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return fmt.Errorf("one user is expected")
	}
	c.User = words[0]
	return nil
}

func changeStopSignal(c *dockerspec.DockerOCIImageConfig, args string) error {
	if len(strings.Fields(args)) != 1 {
		return fmt.Errorf("one signal is expected")
	}
	c.StopSignal = args
	return nil
}

func changeWorkdir(c *dockerspec.DockerOCIImageConfig, args string) error {
	words, err := splitWords(args)
	if err != nil {
		return err
	}
	dir := strings.Join(words, " ")
	if !path.IsAbs(dir) {
		dir = path.Join("/", c.WorkingDir, dir)
	}
	c.WorkingDir = path.Clean(dir)
	return nil
}

func changeEnv(c *dockerspec.DockerOCIImageConfig, args string) error {
	return eachPair(args, func(key, value string) {
		at := slices.IndexFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
		if at < 0 {
			c.Env = append(c.Env, key+"="+value)
			return
		}
		c.Env[at] = key + "=" + value
	})
}

func changeLabel(c *dockerspec.DockerOCIImageConfig, args string) error {
	if c.Labels == nil {
		c.Labels = make(map[string]string)
	}
	return eachPair(args, func(key, value string) { c.Labels[key] = value })
}

func changeVolume(c *dockerspec.DockerOCIImageConfig, args string) error {
	paths, ok := jsonStrings(args)
	if !ok {
		var err error
		if paths, err = splitWords(args); err != nil {
			return err
		}
	}
	if c.Volumes == nil {
		c.Volumes = make(map[string]struct{})
	}
	for _, p := range paths {
		if p == "" {
			return fmt.Errorf("a volume needs a path")
		}
		c.Volumes[p] = struct{}{}
	}
	return nil
}

func changeExpose(c *dockerspec.DockerOCIImageConfig, args string) error {
	if c.ExposedPorts == nil {
		c.ExposedPorts = make(map[string]struct{})
	}
	for _, word := range strings.Fields(args) {
		ports, proto, _ := strings.Cut(word, "/")
		if proto == "" {
			proto = "tcp"
		}
		first, last, err := portRange(ports)
		if err != nil {
			return err
		}
		if p := strings.ToLower(proto); p != "tcp" && p != "udp" && p != "sctp" {
			return fmt.Errorf("unknown protocol %q", proto)
		}
		for port := first; port <= last; port++ {
			c.ExposedPorts[strconv.Itoa(port)+"/"+strings.ToLower(proto)] = struct{}{}
		}
	}
	return nil
}

func portRange(s string) (first, last int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if first, err = portNumber(from); err != nil || !isRange {
		return first, first, err
	}
	if last, err = portNumber(to); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("port range %q ends before it starts", s)
	}
	return first, last, nil
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not in 1 to %d", s, maxPort)
	}
	return int(n), nil
}

// command reads CMD's and ENTRYPOINT's two forms: a JSON list is the words
// themselves, anything else is for a shell.
func command(args string) []string {
	if words, ok := jsonStrings(args); ok {
		return words
	}
	return []string{"/bin/sh", "-c", args}
}

func jsonStrings(args string) ([]string, bool) {
	var words []string
	if !strings.HasPrefix(args, "[") || json.Unmarshal([]byte(args), &words) != nil {
		return nil, false
	}
	return words, true
}

// eachPair reads "k=v k2='v 2'", or ENV's and LABEL's old form "key the rest".
func eachPair(args string, set func(key, value string)) error {
	words, err := splitWords(args)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return fmt.Errorf("a key is expected")
	}
	if !strings.Contains(words[0], "=") {
		if len(words) == 1 {
			return fmt.Errorf("%q has no value", words[0])
		}
		_, rest, _ := strings.Cut(args, words[0])
		set(words[0], strings.TrimSpace(rest))
		return nil
	}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return fmt.Errorf("%q is not key=value", word)
		}
		set(key, value)
	}
	return nil
}

// splitWords splits at white space. Quotes of either kind group, a backslash
// takes the next character as it is, though not within single quotes.
func splitWords(s string) ([]string, error) {
	var (
		words   []string
		word    strings.Builder
		inWord  bool
		quote   rune
		escaped bool
	)
	for _, r := range s {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, inWord = r, true
		case quote == 0 && unicode.IsSpace(r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("unfinished quote or escape in %q", s)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
