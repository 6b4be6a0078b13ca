"Speech emotion recognition, reproduced and questioned: five papers, one library."
