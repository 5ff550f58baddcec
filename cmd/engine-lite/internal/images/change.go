package images

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// changeInstructions are the Dockerfile instructions that change a configuration
// without building anything.
var changeInstructions = []string{
	command.Cmd, command.Entrypoint, command.Env, command.Expose, command.Healthcheck, command.Label,
	command.Onbuild, command.StopSignal, command.User, command.Volume, command.Workdir,
}

// maxExpansion bounds the bytes that the variables of all changes are replaced
// with. Without a bound, lines like ENV A=$A$A would fill the memory.
const maxExpansion = 64 << 10

// ApplyChanges applies Dockerfile instructions to a configuration, in their order.
// As in Docker, they are read as the lines of one Dockerfile. The error is
// InvalidArgument for an instruction that is unknown or malformed; then some
// changes may have been applied.
func ApplyChanges(c *dockerspec.DockerOCIImageConfig, changes []string) error {
	text := strings.Join(changes, "\n")
	if strings.TrimSpace(text) == "" {
		return nil
	}
	file, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return classed.Errorf(errdefs.ErrInvalidArgument, "cannot read changes: %v", err)
	}
	for _, line := range file.AST.Children {
		if !slices.Contains(changeInstructions, strings.ToLower(line.Value)) {
			return classed.Errorf(errdefs.ErrInvalidArgument, "%s is not a valid change command", line.Value)
		}
	}
	ch := changer{config: c, lexer: shell.NewLex(file.EscapeToken), left: maxExpansion}
	for _, line := range file.AST.Children {
		if err := ch.apply(line); err != nil {
			return classed.Errorf(errdefs.ErrInvalidArgument, "cannot apply change %q: %v", line.Original, err)
		}
	}
	return nil
}

// changer applies instructions to one configuration.
type changer struct {
	config *dockerspec.DockerOCIImageConfig
	lexer  *shell.Lex
	left   int  // of maxExpansion; negative once the bound was passed
	cmdSet bool // by an instruction before
}

func (ch *changer) apply(line *parser.Node) error {
	parsed, err := instructions.ParseCommand(line)
	if err != nil {
		return err
	}
	if x, ok := parsed.(instructions.SupportsSingleWordExpansion); ok {
		if err := x.Expand(ch.expand); err != nil {
			return err
		}
	}
	c := ch.config
	switch i := parsed.(type) {
	case *instructions.CmdCommand:
		ch.cmdSet = true
		c.Cmd, err = ch.commandLine(i.ShellDependantCmdLine, line)
	case *instructions.EntrypointCommand:
		if !ch.cmdSet { // the arguments were for the entry point before
			c.Cmd = nil
		}
		c.Entrypoint, err = ch.commandLine(i.ShellDependantCmdLine, line)
	case *instructions.EnvCommand:
		ch.setEnv(i.Env)
	case *instructions.ExposeCommand:
		err = ch.expose(i.Ports)
	case *instructions.HealthCheckCommand:
		c.Healthcheck = i.Health
	case *instructions.LabelCommand:
		ch.setLabels(i.Labels)
	case *instructions.OnbuildCommand:
		c.OnBuild = append(c.OnBuild, i.Expression)
	case *instructions.StopSignalCommand:
		c.StopSignal = i.Signal
		_, err = signal.ParseSignal(i.Signal)
	case *instructions.UserCommand:
		err = ch.setUser(i.User)
	case *instructions.VolumeCommand:
		err = ch.addVolumes(i.Volumes)
	case *instructions.WorkdirCommand:
		err = ch.setWorkdir(i.Path)
	}
	return err
}

// expand removes the quotes of a word and replaces its variables.
func (ch *changer) expand(word string) (string, error) {
	expanded, _, err := ch.lexer.ProcessWord(word, ch.variables())
	return expanded, ch.checkExpansion(err)
}

func (ch *changer) checkExpansion(err error) error {
	if err == nil && ch.left < 0 {
		return fmt.Errorf("the values of variables have more than %d bytes", maxExpansion)
	}
	return err
}

// variables are those of the configuration's environment.
func (ch *changer) variables() shell.EnvGetter {
	return boundedVariables{shell.EnvsFromSlice(ch.config.Env), &ch.left}
}

// boundedVariables counts the bytes of the values that are asked for.
type boundedVariables struct {
	shell.EnvGetter
	left *int
}

// Get finds no variable once the bound is passed.
func (b boundedVariables) Get(name string) (string, bool) {
	value, ok := b.EnvGetter.Get(name)
	if *b.left -= len(value); *b.left < 0 {
		return "", false
	}
	return value, ok
}

// commandLine is CMD's and ENTRYPOINT's: the words of a JSON list are the
// arguments, anything else is for a shell.
func (ch *changer) commandLine(l instructions.ShellDependantCmdLine, line *parser.Node) ([]string, error) {
	if !l.PrependShell {
		return l.CmdLine, nil
	}
	if len(l.CmdLine) == 0 {
		return nil, fmt.Errorf("%s requires an argument", strings.ToUpper(line.Value))
	}
	if len(ch.config.Shell) == 0 {
		return append([]string{"/bin/sh", "-c"}, l.CmdLine...), nil
	}
	return slices.Concat(ch.config.Shell, l.CmdLine), nil
}

func (ch *changer) setEnv(pairs instructions.KeyValuePairs) {
	c := ch.config
	for _, p := range pairs {
		at := slices.IndexFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, p.Key+"=") })
		if at < 0 {
			c.Env = append(c.Env, p.String())
		} else {
			c.Env[at] = p.String()
		}
	}
}

func (ch *changer) setLabels(pairs instructions.KeyValuePairs) {
	if ch.config.Labels == nil {
		ch.config.Labels = make(map[string]string)
	}
	for _, p := range pairs {
		ch.config.Labels[p.Key] = p.Value
	}
}

// expose adds ports. A variable may hold several of them.
func (ch *changer) expose(words []string) error {
	if ch.config.ExposedPorts == nil {
		ch.config.ExposedPorts = make(map[string]struct{})
	}
	for _, word := range words {
		ranges, err := ch.lexer.ProcessWords(word, ch.variables())
		if err := ch.checkExpansion(err); err != nil {
			return err
		}
		for _, r := range ranges {
			if err := ch.exposeRange(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (ch *changer) exposeRange(s string) error {
	ports, err := network.ParsePortRange(s)
	if err != nil {
		return err
	}
	if ports.Start() == 0 {
		return fmt.Errorf("invalid port %q", s)
	}
	switch ports.Proto() {
	case network.TCP, network.UDP, network.SCTP:
	default:
		return fmt.Errorf("unknown protocol %q", ports.Proto())
	}
	for port := range ports.All() {
		ch.config.ExposedPorts[port.String()] = struct{}{}
	}
	return nil
}

func (ch *changer) setUser(user string) error {
	if user == "" || strings.ContainsFunc(user, unicode.IsSpace) {
		return fmt.Errorf("invalid user %q", user)
	}
	ch.config.User = user
	return nil
}

func (ch *changer) addVolumes(paths []string) error {
	if ch.config.Volumes == nil {
		ch.config.Volumes = make(map[string]struct{})
	}
	for _, p := range paths {
		if p == "" {
			return fmt.Errorf("a volume needs a path")
		}
		ch.config.Volumes[p] = struct{}{}
	}
	return nil
}

// setWorkdir takes a relative path as one below the directory before.
func (ch *changer) setWorkdir(dir string) error {
	if dir == "" {
		return fmt.Errorf("a working directory needs a path")
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", ch.config.WorkingDir, dir)
	}
	ch.config.WorkingDir = path.Clean(dir)
	return nil
}
