"""``codivide`` in which one process of ``torchrun`` kills itself, once, when its third epoch begins."""

import os
import signal

from codivide.cli.app import main
from codivide.training.ranks import restarted
from codivide.training.run import Run

if __name__ == "__main__":
    begin = Run.open_epoch

    def open_epoch(run: Run) -> None:
        if run.epoch == 2 and os.environ["RANK"] == os.environ["DYING"] and not restarted():
            os.kill(os.getpid(), signal.SIGKILL)
        begin(run)

    Run.open_epoch = open_epoch
    main()
