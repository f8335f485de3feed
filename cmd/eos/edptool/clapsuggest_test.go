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
		"--heapsize 1": "error: Found argument '--heapsize' which wasn't expected, or isn't valid in this context\n\tDid you mean \x1b[32m--\x1b[0m\x1b[32mheap-size\x1b[0m?\n\nUSAGE:\n    ftxsgx-elf2sgxs [OPTIONS] <elf> --heap-size <BYTES> --stack-size <BYTES>\n\nFor more information try --help\n",
		"--thread=1":   "error: Found argument '--thread' which wasn't expected, or isn't valid in this context\n\tDid you mean \x1b[32m--\x1b[0m\x1b[32mthreads\x1b[0m?\n\nUSAGE:\n    ftxsgx-elf2sgxs <elf> --heap-size <BYTES> --stack-size <BYTES> --threads <N>\n\nFor more information try --help\n",
		"--xyzzy":      "error: Found argument '--xyzzy' which wasn't expected, or isn't valid in this context\n\nUSAGE:\n    ftxsgx-elf2sgxs [OPTIONS] <elf> --heap-size <BYTES> --stack-size <BYTES>\n\nFor more information try --help\n",
	} {
		if rc, stdout, stderr := runIn(t, t.TempDir(), elf2sgxsName, strings.Fields(args)...); rc != 1 || stdout != "" || stderr != want {
			t.Errorf("%s: %d %q\n%s\nwant\n%s", args, rc, stdout, stderr, want)
		}
	}
}

func TestUnknownValue(t *testing.T) {
	const head = "error: '%s' isn't a valid value for '<mode>'\n\t[possible values: dump-mem, info, list-all, list-pages, summary]\n"
	const usage = "\n\nUSAGE:\n    sgxs-info <mode> <file>\n\nFor more information try --help\n"
	for mode, suggestion := range map[string]string{
		"sumary": "\n\tDid you mean '\x1b[32msummary\x1b[0m'?",
		"list":   "\n\tDid you mean '\x1b[32mlist-all\x1b[0m'?",
		"xyzzy":  "",
		"":       "",
	} {
		want := strings.Replace(head, "%s", mode, 1) + suggestion + usage
		if rc, stdout, stderr := runIn(t, t.TempDir(), "sgxs-info", mode, "x"); rc != 1 || stdout != "" || stderr != want {
			t.Errorf("%q: %d %q\n%s\nwant\n%s", mode, rc, stdout, stderr, want)
		}
	}
}

// TestOptionForms has the ways to write an option that clap takes: any number of
// dashes from two on, any number of equals signs.
func TestOptionForms(t *testing.T) {
	for _, args := range []string{
		"x -H 0x10 -S 2", "x -H0x10 -S2", "x -H=0x10 -S=2", "x -H==0x10 -S 2", "x --heap-size=0x10 --stack-size 2",
		"x --heap-size==0x10 -S 2", "x ---heap-size 0x10 -----stack-size===2", "x -dH0x10 -S2", "x -H 0x10 -S 2 ---debug=no",
	} {
		g := given{values: map[string]string{}, times: map[string]int{}, rest: new([]string)}
		err := elf2sgxsCommand.read(g, strings.Fields(args))
		if err != nil || g.get("heap-size", "") != "0x10" || g.get("stack-size", "") != "2" {
			t.Errorf("%s: %v %v", args, g.values, err)
		}
	}
	if _, _, stderr := runIn(t, t.TempDir(), elf2sgxsName, "---xyzzy"); !strings.HasPrefix(stderr, "error: Found argument '--xyzzy' which") {
		t.Errorf("---xyzzy: %s", stderr)
	}
}
