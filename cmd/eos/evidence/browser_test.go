package evidence

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// browsers are names of programs that draw a page without a screen.
var browsers = []string{"chromium-headless-shell", "chromium", "google-chrome"}

func browser(t *testing.T) string {
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("none of %v is installed: the page is not looked at in a browser", browsers)
	return ""
}

// TestInBrowser has a real browser draw the page, wide and narrow, and looks at the
// picture and at what the browser made of the text.
func TestInBrowser(t *testing.T) {
	program := browser(t)
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(program, append([]string{
			"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
			"--disable-sync", "--hide-scrollbars", "--user-data-dir=" + filepath.Join(dir, "profile"),
		}, args...)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", program, args, err, stderr.Bytes())
		}
		return out
	}
	for _, trusted := range []bool{true, false} {
		page := filepath.Join(dir, "page.html")
		f, err := os.Create(page)
		if err != nil {
			t.Fatal(err)
		}
		if err := sample(trusted).WriteHTML(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		dom := string(run("--dump-dom", "file://"+page))
		for _, want := range []string{"<strong>" + map[bool]string{true: "Trusted", false: "Refused"}[trusted], "what was not checked</h2>", "&lt;script&gt;alert(1)"} {
			if !strings.Contains(dom, want) {
				t.Errorf("trusted %v: the browser has no %q", trusted, want)
			}
		}
		for _, width := range []int{1100, 420} {
			shot := filepath.Join(dir, "shot.png")
			run("--window-size="+strconv.Itoa(width)+",1400", "--screenshot="+shot, "file://"+page)
			checkPicture(t, shot, trusted, width)
		}
	}
}

var (
	white = color.RGBA{0xff, 0xff, 0xff, 0xff}
	green = color.RGBA{0xda, 0xfb, 0xe1, 0xff}
	red   = color.RGBA{0xff, 0xeb, 0xe9, 0xff}
)

// checkPicture looks for the band with the verdict, for text, and for empty margins:
// what is too long must be broken, not run out of the page.
func checkPicture(t *testing.T, path string, trusted bool, width int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	band, other := green, red
	if !trusted {
		band, other = red, green
	}
	count := map[color.RGBA]int{}
	dark := 0
	b := m.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)
			count[c]++
			if c.R < 0x60 && c.G < 0x60 && c.B < 0x60 {
				dark++
			}
		}
	}
	if b.Dx() != width || count[band] < b.Dx()*40 || count[other] != 0 {
		t.Errorf("trusted %v, %d wide: %v has %d points of the verdict's colour and %d of the other's", trusted, width, b, count[band], count[other])
	}
	if dark < 2000 {
		t.Errorf("trusted %v, %d wide: %d dark points: there is no text", trusted, width, dark)
	}
	for _, margin := range []image.Rectangle{image.Rect(0, 0, 8, b.Max.Y), image.Rect(b.Max.X-8, 0, b.Max.X, b.Max.Y)} {
		for y := margin.Min.Y; y < margin.Max.Y; y++ {
			for x := margin.Min.X; x < margin.Max.X; x++ {
				if c := color.RGBAModel.Convert(m.At(x, y)); c != white {
					t.Fatalf("trusted %v, %d wide: the page runs into its margin at %d,%d", trusted, width, x, y)
				}
			}
		}
	}
}
