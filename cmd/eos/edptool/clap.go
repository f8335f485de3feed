package edptool

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// command is a command line in the manner of clap 2, which the originals use:
// its forms of options, its help, its messages.
type command struct {
	name, version, about string
	unified              bool // help has flags and options in one list
	args                 []arg
	after                string // end of the help
}

// arg is an option (short or long, and value), a flag (no value), or a
// positional argument (neither short nor long).
type arg struct {
	name     string // by which clap sorts; of positional ones: what is shown
	short    byte   // 0: none
	long     string
	value    string // word for the value
	required bool
	many     bool   // a positional argument that takes all that follow
	initial  string // default
	check    func(string) error
	oneOf    []string // the only values, if not nil
	help     string
}

func (a *arg) positional() bool { return a.short == 0 && a.long == "" }

// String returns the argument as clap writes it in messages.
func (a *arg) String() string {
	switch {
	case a.many:
		return "[" + a.name + "]..."
	case a.positional() && a.required:
		return "<" + a.name + ">"
	case a.positional():
		return "[" + a.name + "]"
	case a.value != "":
		return "--" + a.long + " <" + a.value + ">"
	}
	return "--" + a.long
}

// usageError is a command line that is refused, or a call for help or version.
type usageError struct {
	text string // without the final newline
	help bool   // asked for: to stdout, exit code 0
}

// given are the arguments found, by name.
type given struct {
	values map[string]string // of options and positional arguments
	times  map[string]int    // how often; 0 for a default
	rest   *[]string         // of the argument that takes many
}

// has tells whether an argument is there, be it by default.
func (g given) has(name string) bool { _, ok := g.times[name]; return ok }

// get returns the value of an argument, or what stands for it.
func (g given) get(name, otherwise string) string {
	if v, ok := g.values[name]; ok {
		return v
	}
	return otherwise
}

// parse reads the arguments of a program. Where they are refused, or ask for
// help, it prints that and is done; code is then the exit code.
func (c *command) parse(args []string, stdout, stderr io.Writer) (g given, code int, done bool) {
	g = given{values: map[string]string{}, times: map[string]int{}, rest: new([]string)}
	switch err := c.read(g, args); {
	case err == nil:
		return g, 0, false
	case err.help:
		fmt.Fprintln(stdout, err.text)
		return g, 0, true
	default:
		fmt.Fprintln(stderr, err.text)
		return g, 1, true
	}
}

var (
	helpArg    = arg{name: "hclap_help", short: 'h', long: "help", help: "Prints help information"}
	versionArg = arg{name: "vclap_version", short: 'V', long: "version", help: "Prints version information"}
)

func (c *command) read(g given, args []string) *usageError {
	var wants *arg // the option whose value comes next
	onlyValues := false
	for _, word := range args {
		switch {
		case !onlyValues && word == "--":
			onlyValues, wants = true, nil
		case !onlyValues && len(word) > 1 && word[0] == '-':
			var err *usageError
			if wants, err = c.option(g, word); err != nil {
				return err
			}
		case wants != nil:
			g.values[wants.name] = word
			wants = nil
		default:
			if err := c.positional(g, word); err != nil {
				return err
			}
		}
	}
	return c.validate(g)
}

// option reads one argument that starts with a dash and returns the option that
// still wants a value.
func (c *command) option(g given, word string) (*arg, *usageError) {
	if strings.HasPrefix(word, "--") { // or more dashes, and any number of "="
		long, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		a := c.find(func(a *arg) bool { return a.long == long && long != "" })
		if a == nil {
			return nil, c.unknownLong(g, long)
		}
		return c.found(g, a, strings.TrimLeft(value, "="), given) // a flag's value is ignored
	}
	for i := 1; i < len(word); i++ {
		a := c.find(func(a *arg) bool { return a.short == word[i] })
		if a == nil {
			return nil, c.unknown(g, "-"+string([]rune(word[i:])[0]))
		}
		if rest := word[i+1:]; a.value != "" {
			return c.found(g, a, strings.TrimLeft(rest, "="), rest != "")
		}
		if _, err := c.found(g, a, "", false); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// find returns the argument that is meant, help and version among them unless
// the program has its own of that name.
func (c *command) find(is func(*arg) bool) *arg {
	for i := range c.args {
		if is(&c.args[i]) {
			return &c.args[i]
		}
	}
	for _, a := range []*arg{&helpArg, &versionArg} {
		if is(a) {
			return a
		}
	}
	return nil
}

func (c *command) found(g given, a *arg, value string, given bool) (*arg, *usageError) {
	switch a {
	case &helpArg:
		return nil, &usageError{c.helpText(), true}
	case &versionArg:
		return nil, &usageError{c.name + " " + c.version, true}
	}
	g.times[a.name]++
	if a.value == "" {
		return nil, nil
	}
	if !given {
		delete(g.values, a.name)
		return a, nil
	}
	g.values[a.name] = value
	return nil, nil
}

func (c *command) positional(g given, word string) *usageError {
	for i := range c.args {
		a := &c.args[i]
		switch {
		case a.positional() && a.many:
			*g.rest = append(*g.rest, word)
			return nil
		case a.positional() && !g.has(a.name):
			g.times[a.name], g.values[a.name] = 1, word
			return nil
		}
	}
	return c.unknown(g, word)
}

func (c *command) unknown(g given, word string) *usageError {
	return c.refuse(g, "Found argument '%s' which wasn't expected, or isn't valid in this context", word)
}

// validate sets the defaults and checks what was found.
func (c *command) validate(g given) *usageError {
	for _, a := range c.args {
		if a.initial != "" && !g.has(a.name) {
			g.times[a.name], g.values[a.name] = 0, a.initial
		}
	}
	var missing []string
	for _, a := range c.sorted() {
		if a.required && !g.has(a.name) {
			missing = append(missing, "\n    "+a.String())
		}
	}
	if missing != nil {
		return c.refuse(g, "The following required arguments were not provided:%s", strings.Join(missing, ""))
	}
	for i := range c.args {
		a := &c.args[i]
		v, ok := g.values[a.name]
		switch {
		case a.value != "" && g.has(a.name) && !ok:
			return c.refuse(g, "The argument '%s' requires a value but none was supplied", a)
		case ok && a.oneOf != nil && !slices.Contains(a.oneOf, v):
			return c.notOneOf(g, a, v)
		case ok && a.check != nil && a.check(v) != nil:
			return &usageError{text: fmt.Sprintf("error: Invalid value for '%s': %s", a, a.check(v))}
		case g.times[a.name] > 1:
			return c.refuse(g, "The argument '%s' was provided more than once, but cannot be used multiple times", a)
		}
	}
	return nil
}

// sorted returns the arguments in clap's order: positional ones, then by name.
func (c *command) sorted() []arg {
	return slices.SortedStableFunc(slices.Values(c.args), func(a, b arg) int {
		switch {
		case a.positional() && b.positional():
			return 0
		case a.positional() != b.positional():
			if a.positional() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
}

// refuse returns an error with the usage that clap thinks is meant: the required
// arguments and those found so far.
func (c *command) refuse(g given, format string, v ...any) *usageError {
	usage := c.name
	if !slices.ContainsFunc(c.args, func(a arg) bool { return g.has(a.name) && !a.required }) {
		usage += c.tags()
	}
	for _, a := range c.sorted() {
		if a.required || g.has(a.name) {
			usage += " " + a.String()
		}
	}
	return &usageError{text: fmt.Sprintf("error: "+format+"\n\nUSAGE:\n    %s\n\nFor more information try --help", append(v, usage)...)}
}

// tags stand for what is optional.
func (c *command) tags() string {
	is := func(f func(a arg) bool) bool { return slices.ContainsFunc(c.args, f) }
	flags := is(func(a arg) bool { return !a.positional() && a.value == "" })
	options := is(func(a arg) bool { return !a.positional() && a.value != "" && !a.required })
	switch {
	case c.unified && flags:
		return " [OPTIONS]"
	case c.unified:
		return ""
	}
	s := ""
	if flags {
		s += " [FLAGS]"
	}
	if options {
		s += " [OPTIONS]"
	}
	return s
}

// helpText is the answer to --help.
func (c *command) helpText() string {
	usage := c.name + c.tags()
	var positions, flags, options []arg
	for _, a := range append(c.sorted(), helpArg, versionArg) {
		if a.required {
			usage += " " + a.String()
		}
		if i := slices.IndexFunc(c.args, func(b arg) bool { return b.short == a.short }); i >= 0 && c.args[i].name != a.name {
			a.short = 0 // the program's own
		}
		if a.many {
			usage += " " + a.String()
		}
		switch {
		case a.positional():
			positions = append(positions, a)
		case a.value == "" && !c.unified:
			flags = append(flags, a)
		default:
			options = append(options, a)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", c.name, c.version)
	if c.about != "" {
		b.WriteString(c.about + "\n")
	}
	b.WriteString("\nUSAGE:\n    " + usage)
	helpList(&b, "FLAGS", flags)
	helpList(&b, "OPTIONS", options)
	helpList(&b, "ARGS", positions)
	if c.after != "" {
		b.WriteString("\n\n" + c.after)
	}
	return b.String()
}

// helpWidth is the width of the terminal that clap assumes.
const helpWidth = 120

func helpList(b *strings.Builder, title string, args []arg) {
	if len(args) == 0 {
		return
	}
	longest := 0
	for _, a := range args {
		longest = max(longest, len(a.String()))
	}
	slices.SortStableFunc(args, func(a, b arg) int {
		if a.positional() {
			return 0
		}
		return cmp.Compare(a.name, b.name)
	})
	fmt.Fprintf(b, "\n\n%s:", title)
	for _, a := range args {
		short := "    "
		switch {
		case a.positional():
			short = ""
		case a.short != 0:
			short = "-" + string(a.short) + ", "
		}
		help := a.help
		if a.initial != "" {
			help += " [default: " + a.initial + "]"
		}
		if a.oneOf != nil {
			help += " [possible values: " + strings.Join(a.oneOf, ", ") + "]"
		}
		// Help that is too long for a narrow column goes below.
		if taken := longest + 12; 5*taken > 2*helpWidth && taken <= helpWidth && len(help) > helpWidth-taken {
			fmt.Fprintf(b, "\n    %s%s\n            %s", short, a.String(), help)
			continue
		}
		fmt.Fprintf(b, "\n    %s%-*s    %s", short, longest, a.String(), help)
	}
}
