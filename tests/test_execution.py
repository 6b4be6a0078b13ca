"""How a notebook's process is started."""
import socket
import nbformat, pytest
from jupyter_client.connect import LocalPortCache
from ser_study.settings import StudyError
from ser_study.study.execution import STARTS, execute

PORTS = 5   # of a kernel

@pytest.fixture
def notebook(tmp_path):
    path, v4 = tmp_path / "short.ipynb", nbformat.v4
    metadata = dict(kernelspec=dict(name="python3", display_name="Python 3", language="python"))
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("print(6 * 7)")], metadata=metadata), path)
    return path

@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server: yield server.getsockname()[1]

def choose(monkeypatch, taken, times):
    "Let a kernel get the taken port so many times; the list of its choices."
    chosen, find = [], LocalPortCache.find_available_port
    def next_port(self, ip):
        chosen.append(taken if len(chosen) < times else find(self, ip))
        return chosen[-1]
    monkeypatch.setattr(LocalPortCache, "find_available_port", next_port)
    return chosen

def test_a_port_that_another_process_took_costs_a_second_start(notebook, taken, monkeypatch, capfd):
    chosen = choose(monkeypatch, taken, times=1)
    assert execute(notebook, {}, notebook.parent).cells[0].outputs[0].text == "42\n"
    assert len(chosen) == 2 * PORTS and "Address already in use" in capfd.readouterr().err

def test_a_kernel_that_never_starts_is_one_sentence(notebook, taken, monkeypatch, capfd):
    chosen = choose(monkeypatch, taken, times=99)
    with pytest.raises(StudyError, match="short: no kernel could be started"):
        execute(notebook, {}, notebook.parent)
    assert len(chosen) == STARTS * PORTS
