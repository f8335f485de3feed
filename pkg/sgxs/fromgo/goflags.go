package fromgo

import "strings"

// buildFlags are the flags of the go command that choose what the program is made
// of, for "go list" and "go build" alike.
func (o *Options) buildFlags() []string {
	if o.Tags == "" {
		return nil
	}
	return []string{"-tags=" + o.Tags}
}

// tags are the build constraints that o asks for.
func (o *Options) tags() []string {
	return strings.FieldsFunc(o.Tags, func(c rune) bool { return c == ',' || c == ' ' })
}

// linkFlags make a position-independent executable, with symbols for the scan
// and without debug information, build ID, paths and version control, in which
// some strings have been set.
func (o *Options) linkFlags() ([]string, error) {
	ld := "-ldflags=-w -buildid="
	vars, err := linkVars(o.LDFlags)
	if err != nil {
		return nil, err
	}
	for _, v := range vars {
		quote := "'"
		if strings.Contains(v, "'") {
			quote = `"`
		}
		ld += " " + quote + "-X=" + v + quote
	}
	return []string{"-buildmode=pie", "-trimpath", "-buildvcs=false", ld}, nil
}

// linkVars returns the "name=value" of each -X in flags of the Go linker. The
// flags that leave symbols out are passed over: the image has none.
func linkVars(flags string) (vars []string, err error) {
	words, err := splitQuoted(flags)
	if err != nil {
		return nil, err
	}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if strings.HasPrefix(word, "--") {
			word = word[1:]
		}
		name, v, ok := strings.Cut(word, "=")
		switch {
		case name == "-s" || name == "-w":
			continue
		case name != "-X":
			return nil, refuse("-X, -s and -w can be given", "the linker's flag %s is not for enclaves", word)
		case !ok && len(words) == 0:
			return nil, refuse("write -X main.version=1.2", "the linker's flag -X has no value")
		case !ok:
			v, words = words[0], words[1:]
		}
		name, _, ok = strings.Cut(v, "=")
		if !ok || strings.LastIndexByte(name, '.') <= 0 {
			return nil, refuse("write -X main.version=1.2", "the linker's flag -X %s is not of the form PACKAGE.NAME=VALUE", v)
		}
		if strings.Contains(v, "'") && strings.Contains(v, `"`) {
			return nil, refuse("", "the linker's flag -X %s has quotes of both kinds", v)
		}
		vars = append(vars, v)
	}
	return vars, nil
}

// splitQuoted splits flags at blanks as the go command does: a word in quotes of
// either kind may contain blanks, and quotes of the other kind.
func splitQuoted(s string) ([]string, error) {
	var words []string
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" {
			return words, nil
		}
		if c := s[0]; c == '\'' || c == '"' {
			word, rest, ok := strings.Cut(s[1:], string(c))
			if !ok {
				return nil, refuse("", "a quote in the linker's flags is not closed: %s", s)
			}
			words, s = append(words, word), rest
			continue
		}
		end := strings.IndexAny(s, " \t\r\n")
		if end < 0 {
			end = len(s)
		}
		words, s = append(words, s[:end]), s[end:]
	}
}

// checkGoFlags refuses what the go command would take for something else.
func (o *Options) checkGoFlags() error {
	for _, t := range o.tags() {
		switch {
		case t == "cgo":
			return refuse("", "the tag cgo cannot be given: an enclave has none")
		case t[0] == '-':
			return refuse("", "%q is not a tag", t)
		}
	}
	_, err := o.linkFlags()
	return err
}
