package toml

import (
	"bytes"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lines are those of a text's parts that errors are about.
type lines struct {
	apps  []int // of each [[app]]
	roles map[string]int

	text     []byte
	off, now int // the line ends before off are those of the lines before now
}

// walk finds the lines, and refuses what the decoder takes for something else or tells
// of without a line.
func walk(b []byte) (*lines, error) {
	l := &lines{roles: map[string]int{}, text: b, now: 1}
	p := &unstable.Parser{}
	p.Reset(b)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		words, line := l.key(p, e)
		switch e.Kind {
		case unstable.ArrayTable:
			if table = words; slices.Equal(words, []string{"app"}) {
				l.apps = append(l.apps, line)
			}
		case unstable.Table:
			if table = words; slices.Equal(words, []string{"app"}) {
				return nil, &Error{line, "[app]: write [[app]], of which there can be several"}
			}
		case unstable.KeyValue:
			if err := l.value(p, slices.Concat(table, words), line, e.Value()); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// key is the key of an expression, and its line. Expressions come in their order.
func (l *lines) key(p *unstable.Parser, e *unstable.Node) (words []string, line int) {
	for k := e.Key(); k.Next(); {
		if off := int(p.Range(k.Node().Data).Offset); line == 0 && off > l.off {
			l.now += bytes.Count(l.text[l.off:off], []byte("\n"))
			l.off = off
		}
		line = l.now
		words = append(words, string(k.Node().Data))
	}
	return words, line
}

func (l *lines) value(p *unstable.Parser, path []string, line int, v *unstable.Node) error {
	switch {
	case v.Kind == unstable.InlineTable:
		for c := v.Children(); c.Next(); {
			words, line := l.key(p, c.Node())
			if err := l.value(p, slices.Concat(path, words), line, c.Node().Value()); err != nil {
				return err
			}
		}
	case len(path) == 2 && path[0] == "roles":
		l.roles[path[1]] = line
	case len(path) == 3 && path[0] == "app" && path[1] == "limits":
		// The decoder would give the digits to UnmarshalText: of a time they say nothing.
		switch path[2] {
		case "time":
			if v.Kind != unstable.String {
				return &Error{line, "time is no text: want a time such as \"10s\""}
			}
		case "memory", "output", "storage":
			if v.Kind != unstable.String && v.Kind != unstable.Integer {
				return &Error{line, path[2] + " is no text: want a size such as \"64MiB\""}
			}
		}
	}
	return nil
}
