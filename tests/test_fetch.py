"""Fetching, against a server on this machine: broken connections, wrong checksums, hostile archives."""
import hashlib, io, re, stat, tarfile, threading, zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pytest
from ser_study import archives
from ser_study.data import fetch
from ser_study.settings import StudyError, load_settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Shop(BaseHTTPRequestHandler):
    """Serves `server.files`. The next `server.drops` answers are cut off in the middle. `server.log` keeps
    (path, Range) of every request."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        shop, path = self.server, self.path.partition("?")[0]
        shop.log.append((path, self.headers.get("Range")))
        if path not in shop.files: return self.send_error(404)
        body, start = shop.files[path], 0
        if shop.knows_range and (asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(asked[1])
            if start >= len(body): return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start + shop.off_by}-{len(body) - 1}/{len(body)}")
        else: self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if shop.drops > 0:
            shop.drops -= 1
            self.wfile.write(body[start:start + (len(body) - start) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else: self.wfile.write(body[start:])

    def log_message(self, *args): pass


@pytest.fixture
def shop(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.files, server.log, server.drops, server.knows_range, server.off_by = {}, [], 0, True, 0
    server.handle_error = lambda *args: None    # a cut connection is what we want
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(fetch, "BACKOFF", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(tmp_path):
    return load_settings(Path(__file__).parents[1] / "settings.ini", corpora=tmp_path / "corpora")


def noise(n, seed=0): return np.random.default_rng(seed).bytes(n)
def md5(body): return f"md5:{hashlib.md5(body).hexdigest()}"
def get(shop, path, **kwargs): fetch.download(fetch._session(), f"{shop.address}/{path.name}", path, **kwargs)


# ---- download

def test_a_broken_connection_is_taken_up_where_it_broke(shop, tmp_path):
    body = shop.files["/a.bin"] = noise(3_000_000)
    shop.drops = 2
    get(shop, tmp_path / "a.bin", checksum=md5(body), size=len(body))
    assert (tmp_path / "a.bin").read_bytes() == body and [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    starts = [int(asked[6:-1]) if asked else 0 for _, asked in shop.log]
    assert len(starts) == 3 and starts[0] == 0
    assert 0 < starts[1] < starts[2] < len(body), "each request asked only for the rest"


def test_a_later_run_goes_on_from_the_part(shop, tmp_path):
    body = shop.files["/a.bin"] = noise(100_000)
    (tmp_path / "a.bin.part").write_bytes(body[:60_000])
    get(shop, tmp_path / "a.bin", checksum=md5(body))
    assert (tmp_path / "a.bin").read_bytes() == body and shop.log == [("/a.bin", "bytes=60000-")]


def test_a_whole_part_is_not_asked_for_again(shop, tmp_path):
    body = shop.files["/a.bin"] = noise(1000)
    (tmp_path / "a.bin.part").write_bytes(body)
    get(shop, tmp_path / "a.bin", checksum=md5(body), size=1000)
    assert (tmp_path / "a.bin").read_bytes() == body and shop.log == []


def test_a_part_longer_than_the_file_is_dropped(shop, tmp_path):
    body = shop.files["/a.bin"] = noise(1000)
    (tmp_path / "a.bin.part").write_bytes(noise(2000, seed=1))
    get(shop, tmp_path / "a.bin", checksum=md5(body))
    assert (tmp_path / "a.bin").read_bytes() == body
    assert shop.log == [("/a.bin", "bytes=2000-"), ("/a.bin", None)]


def test_a_server_that_ignores_range_sends_all_again(shop, tmp_path):
    body = shop.files["/a.bin"] = noise(1_000_000)
    shop.knows_range, shop.drops = False, 1
    get(shop, tmp_path / "a.bin", checksum=md5(body))
    assert (tmp_path / "a.bin").read_bytes() == body and len(shop.log) == 2


def test_another_part_than_asked_for_is_refused(shop, tmp_path):
    body = shop.files["/a.bin"] = noise(1000)
    (tmp_path / "a.bin.part").write_bytes(body[:500])
    shop.off_by = 10
    with pytest.raises(StudyError, match="another part"): get(shop, tmp_path / "a.bin")


def test_a_wrong_checksum_is_refused_and_the_file_not_kept(shop, tmp_path):
    shop.files["/a.bin"] = noise(1000)
    with pytest.raises(StudyError, match="a.bin.*not the file that was meant"):
        get(shop, tmp_path / "a.bin", checksum=md5(b"other"))
    assert not list(tmp_path.iterdir())


def test_more_than_the_declared_size_is_not_taken(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK", 1000)
    shop.files["/a.bin"] = noise(1_000_000)
    with pytest.raises(StudyError, match="not the file that was meant"):
        get(shop, tmp_path / "a.bin", size=5000)
    assert not list(tmp_path.iterdir())


def test_404_is_one_clear_sentence(shop, tmp_path):
    with pytest.raises(StudyError, match=r"a\.bin: the server answers 404 Not Found\.$"):
        get(shop, tmp_path / "a.bin")
    assert len(shop.log) == 1, "asking again would not help"


def test_a_connection_that_keeps_breaking_keeps_the_part(shop, tmp_path):
    body = shop.files["/a.bin"] = noise(4_000_000)
    shop.drops = 99
    with pytest.raises(StudyError, match=r"keeps breaking off.* MB are kept"): get(shop, tmp_path / "a.bin")
    part = (tmp_path / "a.bin.part").read_bytes()
    assert 0 < len(part) < len(body) and body.startswith(part)


def test_no_server_is_one_clear_sentence(shop, tmp_path):
    shop.shutdown(), shop.server_close()
    with pytest.raises(StudyError, match="cannot be reached.*nothing has arrived"):
        get(shop, tmp_path / "a.bin")


# ---- hostile archives

def zipped(*members):
    "A zip archive of (name or ZipInfo, content)."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members: archive.writestr(member, content)
    return file.getvalue()


def tarred(*members, commit=None):
    "A tar.gz archive of (name, type, link or content)."
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT,
                      pax_headers={"comment": commit} if commit else None) as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE: info.size = len(content)
            else: info.linkname, content = content, b""
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def special(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o644) << 16
    return info


def resized(body: bytes, size: bytes) -> bytes:
    "A plain tar archive whose first member's header gives another size."
    header = bytearray(body[:512])
    header[124:136] = size
    header[148:156] = b"%06o\0 " % sum(header[:148] + b" " * 8 + header[156:])
    return bytes(header) + body[512:]


def plain(name: str, content: bytes) -> bytes:
    "A tar archive of one file, not compressed."
    file, info = io.BytesIO(), tarfile.TarInfo(name)
    info.size = len(content)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def with_size(body: bytes, size: int) -> bytes:
    "A zip archive of one file, whose directory gives another size after unpacking."
    body = bytearray(body)
    entry = body.index(b"PK\x01\x02")
    body[entry + 24:entry + 28] = size.to_bytes(4, "little")
    return bytes(body)


FILE = tarfile.REGTYPE
HOSTILE = {
    "zip 2,000 folders": (zipped(("a/" * 2000 + "x.wav", b"x")), "lies in more than 20 folders"),
    "tar 2,000 folders": (tarred(("a/" * 2000, tarfile.DIRTYPE, "")), "lies in more than 20 folders"),
    "tar 2,000 folders by steps": (tarred(*(("a/" * n, tarfile.DIRTYPE, "") for n in range(1, 2000, 9))),
                                   "lies in more than 20 folders"),
    "tar size -1": (resized(plain("a.wav", b"x"), b"\xff" * 12), "'a.wav' has -1 bytes by its header"),
    "tar size of exabytes": (resized(plain("a.wav", b"x"), b"\x80" + b"\0" * 4 + b"\x7f" * 7), "more than a"),
    "tar size too large": (resized(plain("a.wav", b"x"), b"00000100000\0"), "cannot be unpacked"),
    "tar twice": (tarred(("a.wav", FILE, b"x"), ("a.wav", FILE, b"y")), "'a.wav' is there twice"),
    "zip size too large": (with_size(zipped(("a.wav", b"x" * 9)), 3 * 10**9), "more than a corpus would"),
    "zip size somewhat too large": (with_size(zipped(("a.wav", b"x" * 9)), 100), "has 9 bytes, not 100"),
    "zip size too small": (with_size(zipped(("a.wav", bytes(10**7))), 10), "cannot be unpacked"),
    "zip unprintable": (zipped(("a\u202e.wav", b"x")), "does not stay inside"),
    "zip traversal": (zipped(("ok.wav", b"x"), ("../../evil", b"x")), "'../../evil'"),
    "zip traversal inside": (zipped(("a/../../evil", b"x")), "'a/../../evil'"),
    "zip absolute": (zipped(("/evil", b"x")), "'/evil'"),
    "zip drive letter": (zipped(("C:/evil", b"x")), "'C:/evil'"),
    "zip backslashes": (zipped(("..\\evil", b"x")), "evil"),
    "zip spaced dots": (zipped(("a/.. /evil", b"x")), "'a/.. /evil'"),
    "zip symlink": (zipped((special("link", stat.S_IFLNK), b"/etc/passwd")), "'link' is a symbolic link"),
    "zip device": (zipped((special("dev", stat.S_IFCHR), b"")), "'dev' is a device"),
    "zip bomb": (zipped(*((f"{n}.wav", bytes(10**7)) for n in range(12))), "more than a corpus would"),
    "zip twice": (zipped(("a.wav", b"x"), ("./a.wav", b"y")), "'./a.wav' is there twice"),
    "zip file and folder": (zipped(("a", b"x"), ("a/b", b"y")), "cannot be unpacked"),
    "zip cut off": (zipped(("a.wav", noise(5000)))[:3000], "cannot be unpacked"),
    "zip damaged": ((lambda b: b[:200] + bytes(50) + b[250:])(zipped(("a.wav", noise(5000)))),
                    "cannot be unpacked"),
    "tar traversal": (tarred(("ok.wav", FILE, b"x"), ("../../evil", FILE, b"x")), "'../../evil'"),
    "tar absolute": (tarred(("/evil", FILE, b"x")), "'/evil'"),
    "tar symlink": (tarred(("link", tarfile.SYMTYPE, "/etc"), ("link/evil", FILE, b"x")), "'link' is a link"),
    "tar hardlink": (tarred(("link", tarfile.LNKTYPE, "../../evil")), "'link' is a link"),
    "tar device": (tarred(("dev", tarfile.CHRTYPE, "")), "'dev' is a device"),
    "tar pipe": (tarred(("pipe", tarfile.FIFOTYPE, "")), "'pipe' is a device"),
    "tar bomb": (tarred(*((f"{n}.wav", FILE, bytes(10**7)) for n in range(12))), "more than a corpus would"),
    "tar newline": (tarred(("a\n.wav", FILE, b"x")), "does not stay inside"),
    "tar cut off": (tarred(("a.wav", FILE, noise(50_000)))[:30_000], "cannot be unpacked"),
    "no archive": (b"<html>Please log in</html>", "cannot be unpacked"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(name, tmp_path):
    body, complaint = HOSTILE[name]
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    archive = inner / "corpus.archive"
    archive.write_bytes(body)
    with pytest.raises(StudyError, match="^corpus.archive") as caught:
        archives.unpack(archive, inner / "corpus")
    assert complaint in str(caught.value)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "a", "a/b", "a/b/corpus.archive"]


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    body = bytearray(zipped(("a.wav", noise(5000))))
    entry = body.index(b"PK\x01\x02")
    body[entry + 24:entry + 28] = (10).to_bytes(4, "little")    # "uncompressed size" of the central directory
    (tmp_path / "lie.zip").write_bytes(body)
    with pytest.raises(StudyError, match="^lie.zip cannot be unpacked"):
        archives.unpack(tmp_path / "lie.zip", tmp_path / "corpus")
    assert [p.name for p in tmp_path.iterdir()] == ["lie.zip"]


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    (tmp_path / "many.zip").write_bytes(zipped(*((f"{n}.wav", b"") for n in range(6))))
    with pytest.raises(StudyError, match="'5.wav' makes it grow"):
        archives.unpack(tmp_path / "many.zip", tmp_path / "corpus")


def test_what_a_killed_unpacking_left_does_not_get_in(tmp_path):
    (tmp_path / "corpus.unpacking").mkdir()
    (tmp_path / "corpus.unpacking" / "old.wav").write_bytes(b"half")
    (tmp_path / "good.tar.gz").write_bytes(tarred(("new.wav", FILE, b"x")))
    archives.unpack(tmp_path / "good.tar.gz", tmp_path / "corpus")
    assert [p.name for p in (tmp_path / "corpus").iterdir()] == ["new.wav"]


# ---- corpora

def sell(shop, monkeypatch, body, clips=2, **changes):
    "Put an archive on the server and the corpus tiny into the registry."
    shop.files["/tiny.archive"] = body
    source = fetch.Source("http://page.example", f"{shop.address}/tiny.archive?download=1", "tiny.archive")
    monkeypatch.setitem(fetch.SOURCES, "tiny", replace(source, **changes))
    monkeypatch.setitem(fetch.CORPORA, "tiny",
                        replace(fetch.CORPORA["ravdess"], key="tiny", folder="Tiny", count=clips))


TWO = zipped(("Audio_1-2/Actor_01/a.wav", b"RIFF1"), ("Audio_1-2/Actor_02/b.wav", b"RIFF2"))


def test_a_zip_with_a_top_folder_lands_where_readers_look(shop, settings, monkeypatch):
    sell(shop, monkeypatch, TWO, checksum=md5(TWO), bytes=len(TWO))
    corpus = fetch.fetch_corpus("tiny", settings)
    assert corpus == settings.corpora / "Tiny" and (corpus / "Actor_01/a.wav").read_bytes() == b"RIFF1"
    assert [p.name for p in settings.corpora.iterdir()] == ["Tiny"], "nothing is left of the work"
    assert fetch.fetch_corpus("tiny", settings) == corpus
    assert len(shop.log) == 1, "a corpus that is there is not asked for"


def test_a_corpus_in_part_is_never_touched(shop, settings, monkeypatch):
    sell(shop, monkeypatch, TWO)
    (settings.corpora / "Tiny").mkdir(parents=True)
    (settings.corpora / "Tiny/mine.wav").write_bytes(b"mine")
    with pytest.raises(StudyError, match="with 1 of 2 clips: move it away"):
        fetch.fetch_corpus("tiny", settings)
    assert [p.name for p in settings.corpora.rglob("*")] == ["Tiny", "mine.wav"] and shop.log == []


def test_missing_clips_are_noticed(shop, settings, monkeypatch):
    sell(shop, monkeypatch, TWO, clips=3)
    with pytest.raises(StudyError, match="2 clips arrived, expected 3.*http://page.example"):
        fetch.fetch_corpus("tiny", settings)
    assert not (settings.corpora / "Tiny").exists()


def test_a_hostile_archive_makes_no_corpus_and_is_not_kept(shop, settings, monkeypatch):
    sell(shop, monkeypatch, HOSTILE["zip traversal"][0])
    with pytest.raises(StudyError, match="tiny.archive: the member '../../evil'"):
        fetch.fetch_corpus("tiny", settings)
    assert [p.name for p in settings.corpora.rglob("*")] == [".Tiny.fetching"]


def test_404_tells_where_to_get_it_by_hand(shop, settings, monkeypatch):
    sell(shop, monkeypatch, TWO, url=f"{shop.address}/moved")
    with pytest.raises(StudyError, match="404 Not Found.*By hand: http://page.example"):
        fetch.fetch_corpus("tiny", settings)


def test_an_unknown_key_is_refused_with_a_hint(settings):
    with pytest.raises(StudyError, match="Did you mean 'crema_d'"): fetch.fetch_corpus("crema-d", settings)


def lfs(shop, monkeypatch, packed=COMMIT, **changes):
    "A repository whose clips are Git LFS pointers, as GitHub packs it."
    clips = {"AudioWAV/1001_IEO_ANG_HI.wav": noise(300_000, 1),
             "AudioWAV/1001_IEO_SAD_HI.wav": noise(200_000, 2)}
    def pointer(body):
        return (f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(body).hexdigest()}\n"
                f"size {len(body)}\n").encode()
    members = [(name, pointer(body)) for name, body in clips.items()]
    members += [("table.csv", b"a,b\n"), ("VideoFlash/1001.flv", pointer(b"video"))]
    shop.files.update({f"/media/{name}": body for name, body in clips.items()})
    body = tarred(*((f"Repo-{COMMIT}/{name}", FILE, content) for name, content in members), commit=packed)
    sell(shop, monkeypatch, body,
         **{**dict(commit=COMMIT, keep=("AudioWAV", "table.csv"), media=f"{shop.address}/media",
                   known={"table.csv": md5(b"a,b\n")}), **changes})
    return clips


def test_lfs_pointers_become_the_clips_they_stand_for(shop, settings, monkeypatch):
    clips = lfs(shop, monkeypatch)
    shop.drops = 2
    corpus = fetch.fetch_corpus("tiny", settings)
    found = {p.relative_to(corpus).as_posix(): p.read_bytes() for p in corpus.rglob("*") if p.is_file()}
    assert found == {**clips, "table.csv": b"a,b\n"}, "videos are left out, and no part is left"


def test_a_clip_that_is_not_its_pointers_is_refused_and_the_rest_is_kept_for_the_next_run(
        shop, settings, monkeypatch):
    clips = lfs(shop, monkeypatch)
    (good, _), (bad, body) = clips.items()
    shop.files[f"/media/{bad}"] = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(StudyError, match="1001_IEO_SAD_HI.wav: what arrived is not"):
        fetch.fetch_corpus("tiny", settings)
    assert not (settings.corpora / "Tiny").exists()
    shop.files[f"/media/{bad}"], shop.log[:] = body, []
    assert (fetch.fetch_corpus("tiny", settings) / bad).read_bytes() == body
    assert [path for path, _ in shop.log] == [f"/media/{bad}"], "neither the archive nor the good clip again"


@pytest.mark.parametrize("known", [{"table.csv": md5(b"other")}, {"gone.csv": md5(b"")}])
def test_a_table_that_is_different_or_missing_is_refused(shop, settings, monkeypatch, known):
    lfs(shop, monkeypatch, known=known)
    with pytest.raises(StudyError, match=f"{[*known][0]} is not the file that was meant"):
        fetch.fetch_corpus("tiny", settings)
    assert not (settings.corpora / "Tiny").exists()


@pytest.mark.parametrize("commit", [None, "f" * 40])
def test_an_archive_of_another_commit_is_refused_and_not_kept(shop, settings, monkeypatch, commit):
    lfs(shop, monkeypatch, packed=commit)
    with pytest.raises(StudyError, match=f"made from commit {commit}, expected {COMMIT}"):
        fetch.fetch_corpus("tiny", settings)
    assert [p.name for p in settings.corpora.rglob("*")] == [".Tiny.fetching"]


def test_a_full_disk_is_one_sentence(shop, settings, monkeypatch):
    sell(shop, monkeypatch, TWO)
    def full(*args, **kwargs): raise OSError(28, "No space left on device")
    monkeypatch.setattr(fetch, "_complete", full)
    with pytest.raises(StudyError, match="fetching could not be written: No space left on device"):
        fetch.fetch_corpus("tiny", settings)


def test_every_source_is_pinned_and_checked():
    for key, source in fetch.SOURCES.items():
        assert source.checksum or (source.commit and source.commit in source.url), key
        assert source.url.startswith("https://") and source.page.startswith("https://")
        assert not source.media or source.commit in source.media
