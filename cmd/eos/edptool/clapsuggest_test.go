package edptool

import (
	"math"
	"strings"
	"testing"
)

// TestJaroWinkler has the textbook's values; the common prefix is not limited to
// four letters.
func TestJaroWinkler(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want float64
	}{
		{"", "", 1}, {"a", "", 0}, {"a", "a", 1}, {"a", "b", 0}, {"abc", "xyz", 0},
		{"dwayne", "duane", 0.84}, {"dixon", "dicksonx", 0.8133}, {"same", "same", 1}, {"thorkel", "thorgier", 0.8679},
	} {
		if got := jaroWinkler(x.a, x.b); math.Abs(got-x.want) > 0.0005 {
			t.Errorf("%s %s: %.4f, want %.4f", x.a, x.b, got, x.want)
		}
	}
}

func TestUnknownLong(t *testing.T) {
	for args, want := range map[string]string{
		"--heapsize 1": "error: Found argument '--heapsize' which wasn't expected, or isn't valid in this context\n\tDid you mean --heap-size?\n\nUSAGE:\n    ftxsgx-elf2sgxs [OPTIONS] <elf> --heap-size <BYTES> --stack-size <BYTES>\n\nFor more information try --help\n",
		"--thread=1":   "error: Found argument '--thread' which wasn't expected, or isn't valid in this context\n\tDid you mean --threads?\n\nUSAGE:\n    ftxsgx-elf2sgxs <elf> --heap-size <BYTES> --stack-size <BYTES> --threads <N>\n\nFor more information try --help\n",
		"--xyzzy":      "error: Found argument '--xyzzy' which wasn't expected, or isn't valid in this context\n\nUSAGE:\n    ftxsgx-elf2sgxs [OPTIONS] <elf> --heap-size <BYTES> --stack-size <BYTES>\n\nFor more information try --help\n",
	} {
		if rc, stdout, stderr := runIn(t, t.TempDir(), elf2sgxsName, strings.Fields(args)...); rc != 1 || stdout != "" || stderr != want {
			t.Errorf("%s: %d %q\n%s\nwant\n%s", args, rc, stdout, stderr, want)
		}
	}
}
