import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.run_log import TENSORBOARD, RunLog

FIGURES = {"l_rep": 2.0, "l_gen": 1.0, "confidence": 0.6, "route_accuracy": 0.5, "seconds": 1.5}


def write(folder, steps, tensorboard=True):
    log = RunLog(folder, tensorboard)
    for step in steps:
        log.write(step, "cities", {**FIGURES, "l_rep": 2.0 / step})
    log.close()
    return log


def test_curves_hold_every_step_once_after_a_run_is_taken_up_again(tmp_path):
    write(tmp_path, (1, 2, 3))
    write(tmp_path, (3, 4))  # 3 was not saved before the crash
    events = EventAccumulator(str(tmp_path / TENSORBOARD))
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("step/l_rep")] == [
        (1, 2.0),
        (2, 1.0),
        (3, 0.667),
        (4, 0.5),
    ]
    assert {"l_gen/cities", "confidence/cities", "step/seconds"} <= set(events.Tags()["scalars"])


def test_a_step_run_again_counts_once_in_the_time(tmp_path):
    log = write(tmp_path, (1, 2, 3), tensorboard=False)
    write(tmp_path, (3, 4), tensorboard=False)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [1, 2, 3, 3, 4]
    assert log.seconds(3) == 4.5
    assert log.seconds(4) == 6.0
    assert not (tmp_path / TENSORBOARD).exists()


def test_a_run_without_a_log_has_taken_no_time(tmp_path):
    assert RunLog(tmp_path).seconds(10) == 0
