package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError turns pflag's errors into usage errors in our words.
func flagError(cmd *cobra.Command, err error) error {
	help := "see " + cmd.CommandPath() + " --help"
	var missing *pflag.NotExistError
	var value *pflag.InvalidValueError
	var needs *pflag.ValueRequiredError
	switch {
	case errors.As(err, &missing):
		name := missing.GetSpecifiedName()
		if missing.GetSpecifiedShortnames() != "" {
			return withHint(usagef("%s: no flag -%s", cmd.CommandPath(), name), "%s", help)
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		return unknownWord("flag", "--"+name, names, help)
	case errors.As(err, &value):
		cause := value.Unwrap()
		var num *strconv.NumError
		switch {
		case errors.As(cause, &num) && errors.Is(num.Err, strconv.ErrRange):
			cause = fmt.Errorf("%q is out of range", num.Num)
		case errors.As(cause, &num) && num.Func == "ParseBool":
			cause = fmt.Errorf("%q is neither true nor false", num.Num)
		case errors.As(cause, &num):
			cause = fmt.Errorf("%q is not such a number", num.Num)
		}
		return withHint(usagef("--%s: %w", value.GetFlag().Name, cause), "%s", help)
	case errors.As(err, &needs):
		dashes := "--"
		if needs.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return withHint(usagef("%s%s needs a value", dashes, needs.GetSpecifiedName()), "%s", help)
	}
	return withHint(usagef("%s: %w", cmd.CommandPath(), err), "%s", help)
}

// positional checks the number of arguments; names are those of the usage
// line, the optional ones from need on.
func positional(need int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := "usage: " + cmd.UseLine()
		switch {
		case len(args) < need:
			return withHint(usagef("%s: %s is missing", cmd.CommandPath(), names[len(args)]), "%s", hint)
		case len(args) > len(names):
			return withHint(usagef("%s: unexpected argument %q", cmd.CommandPath(), args[len(names)]), "%s", hint)
		}
		return nil
	}
}

// unknownWord is the error for a word that is none of known: its hint is the
// nearest of them or else otherwise.
func unknownWord(kind, word string, known []string, otherwise string) error {
	err := usagef("unknown %s %s", kind, quoteWord(word))
	if n := nearest(word, known); n != "" {
		return withHint(err, "did you mean %s?", n)
	}
	return withHint(err, "%s", otherwise)
}

func quoteWord(w string) string {
	if strings.HasPrefix(w, "-") {
		return w
	}
	return fmt.Sprintf("%q", w)
}

// nearest returns the known word that word begins, or that is one or, if it is
// long, two letters away from word.
func nearest(word string, known []string) string {
	best, bestDist := "", 1<<30
	for _, k := range known {
		d := editDistance(word, k)
		if strings.HasPrefix(k, word) && len(strings.TrimLeft(word, "-")) >= 2 {
			d = 1
		}
		limit := 1
		if len(strings.TrimLeft(k, "-")) > 4 {
			limit = 2
		}
		if d <= limit && d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

// editDistance is Levenshtein's, on bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diag+cost)
		}
	}
	return row[len(b)]
}
