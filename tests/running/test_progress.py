"""What the progress line tells: shares of work, not of items; rates of this process, not of a resumed one's past."""

from benchmark.running import progress


def lines_of(monkeypatch, capsys, news, works, names):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "LOG_SECONDS", -1.0)
    with progress.ProgressLine("training", works, names) as line:
        for when, position, said in news:
            clock[0] = when
            line.report(position, said)
    return capsys.readouterr().err.splitlines()


def test_time_left_follows_the_work_and_the_rate_follows_this_process(monkeypatch, capsys):
    news = [
        (100.0, 0, {"fraction": 0.5, "epoch": 1, "images": 1000}),  # resumed half-way: 15 of 40 units are old
        (110.0, 0, {"fraction": 1.0, "epoch": 2, "images": 2000}),
    ]
    first, second = lines_of(monkeypatch, capsys, news, [30.0, 10.0], ["[4,3,3] seed 0", "[8,1,1] seed 0"])
    assert first == "training: 37.5% · 0/2 done · [4,3,3] seed 0 · epoch 1"
    # 15 units in 10 s, 10 units are left: 6.7 s; 1,000 images in these 10 s
    assert second == "training: 75.0% · 1/2 done · [4,3,3] seed 0 · epoch 2 · 100 images/s · 7 s left"


def test_time_left_is_a_range_where_the_machine_has_become_slower(monkeypatch, capsys):
    news = [(0.0, 0, {"fraction": 0.0})]
    news += [(float(t), 0, {"fraction": t / 1000}) for t in range(10, 101, 10)]  # 1 per mille a second
    news += [(100.0 + t, 0, {"fraction": 0.1 + t / 10000}) for t in range(10, 101, 10)]  # a tenth of it
    lines = lines_of(monkeypatch, capsys, news, [1.0], ["a"])
    assert lines[10].endswith("15 min left")  # as fast as ever: one number
    # 11 % in 200 s, of which 1 % in the later 100: 89 % take 27 min at the one rate, 2.5 h at the other
    assert lines[-1].endswith("27 min to 2.5 h left")


def test_time_left_bears_a_standstill(monkeypatch, capsys):
    news = [(0.0, 0, {"fraction": 0.0}), (10.0, 0, {"fraction": 0.5}), (100.0, 0, {"fraction": 0.5})]
    assert lines_of(monkeypatch, capsys, news, [1.0], ["a"])[-1].endswith("2 min left")  # 100 s, at the only rate known


def test_no_rate_of_images_is_told_while_none_is_trained_on(monkeypatch, capsys):
    news = [(float(t), 0, {"fraction": t / 40, "epoch": 2, "images": 100 * min(t, 10)}) for t in (0, 5, 10, 20, 30)]
    lines = lines_of(monkeypatch, capsys, news, [1.0], ["a"])  # trains for 10 s, scores from then on
    assert ["images/s" in line for line in lines] == [False, True, True, False, False]
    assert "100 images/s" in lines[2]
    assert lines[-1].endswith("epoch 2 · 10 s left")


def test_waiting_for_another_process_is_said_once(monkeypatch, capsys):
    news = [(1.0, 1, None), (2.0, 1, None), (3.0, 0, None)]
    assert lines_of(monkeypatch, capsys, news, [1.0, 1.0], ["a", "b"]) == ["another process is at b: waiting for it"]


def test_names_reach_the_terminal_without_what_would_drive_it(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_SECONDS", -1.0)
    with progress.ProgressLine("a\x1b[31m", [1.0], ["b\u2028"]) as line:
        line.report(0, {"fraction": 0.5})
    assert "a\\x1b[31m" in (said := capsys.readouterr().err)
    assert "b\\u2028" in said
    assert not {"\x1b", "\u2028"} & set(said)
