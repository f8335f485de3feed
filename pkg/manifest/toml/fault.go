package toml

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	gotoml "github.com/pelletier/go-toml/v2"
)

// fault puts the decoder's errors into one line of words that people know.
func fault(err error) error {
	var strict *gotoml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		e := &strict.Errors[0]
		line, _ := e.Position()
		key := e.Key()
		return &Error{line, fmt.Sprintf("unknown key %q", key[len(key)-1])}
	}
	var bad *gotoml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return &Error{line, otherType(bad)}
	}
	return &Error{0, err.Error()}
}

var cannotDecode = regexp.MustCompile(`^toml: cannot decode TOML (\w+) into (?:struct field \S+ of type )?(\S+)$`)

// wanted are the types that a manifest's keys have.
var wanted = map[string]string{
	"string":            "a text in quotes",
	"[]string":          "a list of texts",
	"map[string]string": "a table of texts",
	"uint64":            "a whole number",
	"uint32":            "a whole number",
	"[]toml.app":        "tables [[app]]",
}

// otherType says that a key has a value of another type; other errors stay as they are.
func otherType(e *gotoml.DecodeError) string {
	m := cannotDecode.FindStringSubmatch(e.Error())
	if m == nil {
		return strings.TrimPrefix(e.Error(), "toml: ")
	}
	what := "the value"
	if key := e.Key(); len(key) > 0 {
		what = key[len(key)-1]
	}
	want, ok := wanted[m[2]]
	if !ok {
		want = "a table"
	}
	return fmt.Sprintf("%s has a value of type %s: want %s", what, m[1], want)
}
